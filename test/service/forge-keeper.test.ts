/** What forges told is followed until it is done, whatever fails in between. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { Delivery } from "../../src/ports/delivery-store.js";
import type { SubjectReports } from "../../src/service/sweep/subject-reports.js";
import { ForgeKeeper } from "../../src/service/webhooks/forge-keeper.js";
import { recordedLog } from "../rpc/running-server.js";
import { openStoreFixture, type StoreFixture } from "../support/store.js";
import { until } from "../support/until.js";

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await openStoreFixture();
});
afterAll(() => fixture.close());
beforeEach(async () => {
  await fixture.sql`truncate forge_deliveries`;
});

let names = 0;
function told(event: Delivery["event"], lane = ""): Delivery {
  const subjectUrls = event.kind === "subject" ? [`https://x/${event.project}/issues/${event.number}`] : [];
  return { forge: "ours", deliveryId: `d${++names}`, digest: "", lane, forgeUrl: "https://x", subjectUrls, event };
}

const closed = (number: number, state: "CLOSED" | "OPEN" = "CLOSED") =>
  told({ kind: "subject", project: "o/n", subject: "ISSUE", number, state }, `ours ${number}`);

/** A keeper whose work is written down; `fails` says what fails. */
function keeping(fails: (what: string) => boolean) {
  const done: string[] = [];
  const step = async (what: string) => {
    if (fails(what)) throw new Error("the store's own words");
    done.push(what);
  };
  const reports: SubjectReports = {
    note: (url, state) => step(`${url} ${state}`),
    branchDeleted: (repository, branch) => step(`${repository} ${branch}`),
  };
  const { log, lines } = recordedLog();
  const keeper = new ForgeKeeper({
    store: fixture.store.deliveries,
    reports,
    log,
    onWanted: () => done.push("wanted"),
  });
  return { keeper, done, lines };
}

it("D3 what fails is followed later, and what is behind it in its lane after it; others go on", async () => {
  let failures = 2;
  const { keeper, done, lines } = keeping((what) => what.includes("/1 CLOSED") && failures-- > 0);
  await fixture.store.deliveries.store([closed(1), closed(2), closed(1, "OPEN")]);
  keeper.start();
  await until("the others are followed", () => done.length === 1);
  expect(done).toEqual(["https://x/o/n/issues/2 CLOSED"]);
  await until("all are followed", () => done.length === 3);
  expect(done.slice(1)).toEqual(["https://x/o/n/issues/1 CLOSED", "https://x/o/n/issues/1 OPEN"]);
  await keeper.stop();
  expect(lines.filter(({ msg }) => msg === "could not follow what a forge told")).toHaveLength(2);
  expect(await fixture.store.deliveries.claim(10)).toEqual([]);
});

it("D3 a branch that was deleted is told for each repository of its project, and for no other", async () => {
  const register = async (name: string, url: string) => {
    const [like] = await fixture.store.repositories.list("", 1, {});
    if (!like) throw new Error("no repository");
    await fixture.store.repositories.register(name, { ...like.repository, url });
  };
  await register("web", "https://x/o/n.git");
  await register("shell", "git@x:o/n.git");
  await register("elsewhere", "https://y/o/n.git");
  await register("longer", "https://x/o/n-more.git");
  const { keeper, done } = keeping(() => false);
  await fixture.store.deliveries.store([told({ kind: "branch-deleted", project: "o/n", branch: "topic" })]);
  keeper.start();
  await until("mirrors are wanted", () => done.includes("wanted"));
  await keeper.stop();
  expect(done.sort()).toEqual(["shell topic", "wanted", "web topic"]);
});

it("D3 a keeper that has stopped claims nothing any more", async () => {
  const { keeper, done } = keeping(() => false);
  keeper.start();
  await keeper.stop();
  await fixture.store.deliveries.store([closed(9)]);
  keeper.look();
  expect(await fixture.store.deliveries.claim(10)).toHaveLength(1);
  expect(done).toEqual([]);
});
