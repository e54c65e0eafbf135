/** A small file system, full to the last byte: nothing is lost, and nothing needs a restart. */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Disposition } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Client, Held } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { canMount, type SmallDisk, type SmallServer, serveOnSmallDisk } from "../support/small-disk.js";
import { until } from "../support/until.js";

const megabyte = 1024 * 1024;
const repository = "full";

describe.skipIf(!canMount())("a full disk", () => {
  const servers = useServers();
  let disk: SmallDisk;
  let client: Client;
  let stage: SmallServer;

  beforeAll(async () => {
    stage = await serveOnSmallDisk(servers, repository);
    ({ disk, client } = stage);
  }, 60_000);

  const counts = () => stage.counts();
  const usage = () => stage.usage();

  it("G7 B2 filled by its holders to the last byte it loses nothing and recovers by itself once their leases end", async () => {
    const holders = await Promise.all(
      [1, 2, 3, 4].map(() => client.acquire({ repository, ttlMs: 5_000, waitMs: 20_000 })),
    );
    const work = holders.map((held, number) => {
      const bytes = randomBytes(megabyte);
      writeFileSync(join(held.path, `work-${number}.bin`), bytes);
      return { held, name: `work-${number}.bin`, bytes };
    });
    for (const held of holders) fillUp(held);
    await until("it is low", async () => (await usage()).diskLow);
    const more = await stage.takeAll();
    expect(more.refused.reason).toBe("DISK_LOW");
    for (const held of more.held) await client.release(held);
    // nobody releases: they expire
    await until(
      "all have been cleaned or given up",
      async () => {
        const found = await counts();
        return found?.leased === 0 && found.cleaning === 0;
      },
      60_000,
    );
    expect((await counts())?.quarantined).toBe(0);
    await until("it has recovered", async () => !(await usage()).diskLow, 30_000);
    for (const { held, name, bytes } of work) {
      const { salvages } = await client.admin.listSalvages({ leaseId: held.leaseId });
      expect(salvages).toHaveLength(1);
      const restored = await client.acquire({
        repository,
        restoreSalvageId: salvages[0]?.salvageId ?? "",
        waitMs: 20_000,
      });
      expect(readFileSync(join(restored.path, name)).equals(bytes)).toBe(true);
      await client.release(restored, { waitForClean: true, disposition: Disposition.DISCARD });
    }
  }, 120_000);

  it("G7 B2 work for which there is no room stays as it is, for as long as it takes, and is saved by itself when there is some", async () => {
    const held = await client.acquire({ repository, waitMs: 20_000 });
    const bytes = randomBytes(25 * megabyte);
    writeFileSync(join(held.path, "much.bin"), bytes);
    await disk.fill();
    await client.release(held);
    const id = held.workspaceId.slice(1);
    const tried = await until("it was tried three times", async () => {
      await disk.fill(0, "what came free");
      const [row] = await stage.sql<
        { attempts: number; state: string }[]
      >`select attempts, state from workspaces where id = ${id}`;
      return row && (row.attempts >= 4 || row.state !== "CLEANING") && row;
    });
    expect(tried.state).toBe("CLEANING");
    expect((await client.get(held.workspaceId)).problem).toMatch(/disk is full/);
    disk.empty();
    disk.empty("what came free");
    const { IDLE, RETIRED } = WorkspaceState;
    await client.whenIn(held.workspaceId, IDLE, RETIRED);
    const { salvages } = await client.admin.listSalvages({ leaseId: held.leaseId });
    const restored = await client.acquire({
      repository,
      restoreSalvageId: salvages[0]?.salvageId ?? "",
      waitMs: 20_000,
    });
    expect(readFileSync(join(restored.path, "much.bin")).equals(bytes)).toBe(true);
    await client.release(restored, { disposition: Disposition.DISCARD });
  }, 90_000);

  /** With what a build leaves: ignored files, until nothing more fits. */
  function fillUp(held: Held): void {
    for (let number = 0; ; number++) {
      try {
        writeFileSync(join(held.path, `${number}.log`), Buffer.alloc(8 * megabyte, 1));
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
        return;
      }
    }
  }
});
