/**
 * Owns the row `verification`: proving that an idle workspace is what a fresh clone would be, every file's bytes included.
 *
 * The peers prove less: `git status` and `git diff-files` trust the times of files, as does the service's own look after
 * each cleaning, which is part of what the row `release` measures.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { AdminService, VerificationOutcome } from "../../gen/leasehold/v1/admin_service_pb.js";
import { git } from "../harness/git-command.js";
import { rounds } from "../harness/rounds.js";
import type { Row } from "../harness/row.js";
import { summarise, timed, timeOf } from "../harness/samples.js";

const seconds = 60;

export const verification: Row = {
  name: "verification",
  title: "proof that an idle workspace is pristine",
  async run(bench) {
    const upstream = await bench.big();
    const leaseholder = await bench.leaseholder();
    const standing = join(bench.directory, "standing");
    bench.onRowEnd(() => rm(standing, { recursive: true, force: true }));
    await git(bench.directory, ["clone", "--quiet", upstream.path, standing]);
    const held = await leaseholder.acquire("big", true);
    await leaseholder.release(held);
    const workspaceIds = [held.leaseId.split(".", 1)[0] ?? ""];
    const ours: number[] = [];
    const status: number[] = [];
    const diff: number[] = [];
    for (const round of rounds(bench.sizes.slowRounds, seconds)) {
      bench.say(`round ${round + 1}`);
      const { ms, result } = await timed(() =>
        leaseholder.client.call(AdminService.method.verifyWorkspaces, { workspaceIds }),
      );
      const [found] = result.results;
      if (found?.outcome !== VerificationOutcome.PRISTINE) {
        throw new Error(
          `an idle workspace is ${VerificationOutcome[found?.outcome ?? 0]}: ${found?.findings.join("; ")}`,
        );
      }
      ours.push(ms);
      status.push(await timeOf(() => git(standing, ["status", "--porcelain", "--ignored"])));
      diff.push(await timeOf(() => git(standing, ["diff-files", "--quiet"])));
    }
    const what = `VerifyWorkspaces, ${upstream.files} files read`;
    return [
      { what, unit: "ms", ours: summarise(ours), peer: { name: "git status --porcelain", summary: summarise(status) } },
      { what, unit: "ms", ours: summarise(ours), peer: { name: "git diff-files", summary: summarise(diff) } },
    ];
  },
};
