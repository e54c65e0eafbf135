/** `leasehold sweep`, and what else tells of subjects on the command line. */
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { SubjectSchema } from "../../gen/leasehold/v1/subject_pb.js";
import { SweepEntryKind, SweepOutcome } from "../../gen/leasehold/v1/sweep_pb.js";
import { leasehold } from "../support/command-line.js";
import { granted, leaseOf, type Script, serveScript, workspaceOf } from "../support/scripted-server.js";

async function against(script: Script, args: readonly string[]) {
  await using server = await serveScript(script);
  return await leasehold(server.address, args);
}

const url = "https://git.example.com/owner/name/issues/7";
const summary = "swept: 1 sessions, 1 worktrees, 0 cache clones; skipped: 12 (still active), 1 (unknown), 0 (errors)";

function sweeping(asked: unknown[]): NonNullable<Script["admin"]> {
  return {
    sweep: ({ dryRun }) => {
      asked.push(dryRun);
      const dropped = { kind: SweepEntryKind.SESSION, outcome: SweepOutcome.DROPPED, reason: "SUBJECT_CLOSED" };
      const foreign = { kind: SweepEntryKind.DIRECTORY, outcome: SweepOutcome.FOREIGN, detail: "demo/notes" };
      return {
        sweep: { dryRun, sessions: 1, worktrees: 1, stillActive: 12, unknown: 1, summary },
        entries: [
          { ...dropped, sessionId: "n17", workspaceId: "w4", repository: "demo", subject: url },
          { ...foreign, repository: "" },
        ],
        entriesLeftOut: 3,
        joined: !dryRun,
      };
    },
  };
}

test("C6 sweep prints what came of each, and ends with the summary line", async () => {
  const asked: unknown[] = [];
  const { stdout, stderr, status } = await against({ admin: sweeping(asked) }, ["sweep"]);
  expect(stdout).toMatch(/^session n17 +DROPPED +SUBJECT_CLOSED +w4 +demo +https:/m);
  expect(stdout).toMatch(/^directory demo\/notes +FOREIGN/m);
  expect(stdout.trimEnd().split("\n").at(-1)).toBe(summary);
  expect(stderr).toContain("a sweep was under way");
  expect(stderr).toContain("and 3 more");
  expect([status, asked]).toEqual([0, [false]]);
});

test("C6 sweep --dry-run says so, and programs get JSON", async () => {
  const asked: unknown[] = [];
  const dry = await against({ admin: sweeping(asked) }, ["sweep", "--dry-run"]);
  expect(dry.stdout.trimEnd().split("\n").at(-1)).toBe(`dry run: ${summary}`);
  const json = await against({ admin: sweeping(asked) }, ["sweep", "-n", "--output", "json"]);
  expect(JSON.parse(json.stdout)).toMatchObject({
    ...{ sweep: { dryRun: true, stillActive: 12, summary }, entriesLeftOut: 3 },
    entries: [{ kind: "SWEEP_ENTRY_KIND_SESSION", outcome: "SWEEP_OUTCOME_DROPPED", sessionId: "n17" }, {}],
  });
  expect(asked).toEqual([true, true]);
});

test("D2 acquire --subject says what the work is for, and list-active shows and filters it", async () => {
  const asked: unknown[] = [];
  const lease = leaseOf();
  lease.subject = create(SubjectSchema, { url, forge: "ours", project: "owner/name", number: 7n });
  const script: Script = {
    acquire: ({ subject, binding }) => {
      asked.push([subject?.url, binding]);
      return granted("/work/w17.4", lease);
    },
    listActive: ({ subject }) => {
      asked.push(subject);
      return { workspaces: [workspaceOf("/work/w17.4", lease)] };
    },
  };
  const acquired = await against(script, ["acquire", "-r", "demo", "--subject", url, "--binding", "b"]);
  expect(acquired.status).toBe(0);
  const listed = await against(script, ["list-active", "--subject", url]);
  expect(listed.stdout).toMatch(/PATH +SUBJECT/);
  expect(listed.stdout).toContain(url);
  expect(asked).toEqual([[url, "b"], url]);
});

test("A6 repository add --idle-ttl sends it, and says when idle ones go", async () => {
  const asked: unknown[] = [];
  const admin: Script["admin"] = {
    registerRepository: ({ repository }) => {
      asked.push(repository?.idleTtl?.seconds);
      return { ...(repository && { repository }) };
    },
  };
  const added = await against({ admin }, ["repository", "add", "https://git.example.com/a.git", "--idle-ttl", "2h"]);
  expect(added.stdout).toMatch(/^idle ones go +after 2h$/m);
  expect(asked).toEqual([7_200n]);
});
