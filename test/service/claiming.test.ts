/** How tickets take workspaces: the room that is held meanwhile, and the line of a server that stops. */
import { expect, test } from "vitest";
import { defaultSettings, type Repository } from "../../src/domain/repository.js";
import type { GrantOutcome, GrantRequest, Ticket } from "../../src/ports/lease-store.js";
import { Disk } from "../../src/service/disk/disk.js";
import { Claiming } from "../../src/service/leases/claiming.js";
import type { Wanted } from "../../src/service/mirrors/mirrors.js";
import { until } from "../support/until.js";

const repository: Repository = {
  ...defaultSettings,
  ...{ id: 1, name: "demo", url: "/srv/demo.git", removing: false, createTime: new Date(0) },
};
const wanted: Wanted = {
  mirror: { state: "READY", problem: "", defaultBranch: "main", refsVersion: 1n },
  resolved: { commit: "c".repeat(40), head: "refs/heads/main" },
};

const ticket = (ticketId: bigint): Ticket => ({
  ...{ ticketId, repositoryId: 1 },
  spec: {
    ...{ revision: "", holder: "", labels: {}, ttlMs: 1, maxStalenessMs: 0, branch: "", binding: "", mayWait: true },
  },
});

/** A disk of 100 bytes of which so many are free, where a workspace takes 10. */
async function diskOf(freeBytes: number): Promise<Disk> {
  const files = {
    look: async () => [{ totalBytes: 100, freeBytes }] as const,
    reserveBytes: async () => 0,
    growReserve: async () => {},
    releaseReserve: async () => {},
  };
  const none = { kind: "bytes", bytes: 0 } as const;
  const disk = new Disk(files, { low: none, minFree: none }, "here");
  await disk.begin();
  disk.expect(new Map([[1, 10]]));
  return disk;
}

/** A board that answers when it is told to. */
class Board {
  readonly asked: GrantRequest[] = [];
  readonly #answers: ((outcome: GrantOutcome) => void)[] = [];

  grant(request: GrantRequest): Promise<GrantOutcome> {
    this.asked.push(request);
    return new Promise((resolve) => this.#answers.push(resolve));
  }

  answer(outcome: GrantOutcome): void {
    this.#answers.shift()?.(outcome);
  }
}

function claiming(disk: Disk) {
  const board = new Board();
  const stopping = new AbortController();
  const ownership = { signal: new AbortController().signal };
  const service = new Claiming({ board, disk, places: { workspaceRoot: "/w" }, ownership }, stopping.signal);
  return { board, stopping, claim: (id: bigint) => service.claim(ticket(id), repository, wanted, []), service };
}

const granted = (source: "new" | "exact"): GrantOutcome => ({
  ...{ kind: "granted", key: { workspaceId: "w1", fence: 1n }, path: "/w/demo/w1.1", from: "", source },
});

test("G7 of many that ask at once no more may make a workspace than there is room for", async () => {
  const { board, claim } = claiming(await diskOf(25));
  const claims = [1n, 2n, 3n].map((id) => claim(id));
  expect(board.asked.map(({ mayMake }) => mayMake)).toEqual([true, true, false]);
  board.answer(granted("new"));
  board.answer(granted("exact"));
  const [made, taken] = await Promise.all([claims[0], claims[1]]);
  // the room of the one that needed none is free again, that of the one that is being made is not
  void claim(4n);
  void claim(5n);
  expect(board.asked.slice(3).map(({ mayMake }) => mayMake)).toEqual([true, false]);
  if (made?.kind === "granted") made.letGo();
  if (taken?.kind === "granted") taken.letGo();
  void claim(6n);
  expect(board.asked.at(-1)?.mayMake).toBe(true);
});

test("G7 a workspace that is made ahead takes room from those that are asked for meanwhile", async () => {
  const disk = await diskOf(15);
  const letGo = disk.count(1);
  expect(disk.hold(1)).toBeUndefined();
  letGo();
  expect(disk.hold(1)).toBeDefined();
});

test("F6 who is asking while a stopping server lets its lines go does not wait in them afterwards", async () => {
  const { board, stopping, claim, service } = claiming(await diskOf(100));
  const claimed = claim(1n);
  await until("it asks", () => board.asked.length === 1);
  stopping.abort();
  service.wakeAll();
  board.answer({ kind: "waiting", position: 1 });
  expect(await claimed).toBeUndefined();
}, 5_000);
