/**
 * Owns what a revision names.
 *
 * Invariants:
 * 1. Only `publicNamespaces` and the commits that they reach are seen: an object that merely lies in the mirror,
 *    after a force-push for instance, is not found.
 * 2. The answer is a commit, or empty for the default branch of a repository without commits.
 */
import { join } from "node:path";
import type { Resolved } from "../../../ports/git-engine.js";
import type { ResolveJob } from "../../protocol.js";
import { WorkerFault } from "../files/fault.js";
import { findObject, git, objectType, type Repository, withRepository } from "../nodegit.js";
import { objectsWithPrefix } from "../objects/object-prefix.js";
import { peelId } from "./mirror-check.js";
import { isObjectId, isPublic, type Ref, type RefTable, readRefs } from "./refs.js";

/** Digits that an abbreviated commit id must have at least. */
const shortestPrefix = 4;
/** How many meanings of an ambiguous revision are told. */
const maxCandidates = 10;

export async function resolveRevision(job: ResolveJob): Promise<Resolved> {
  const { mirror, revision } = job;
  const table = readRefs(mirror);
  return withRepository(mirror, async (repository) => {
    if (revision === "") return defaultBranch(repository, table);
    if (isObjectId(revision.toLowerCase())) {
      const id = revision.toLowerCase();
      if (await isReachableCommit(repository, table, id)) return { commit: id, head: "" };
      throw notFound(revision);
    }
    const named = await byName(repository, table, revision);
    return named ?? { commit: await byPrefix(repository, table, mirror, revision), head: "" };
  });
}

async function defaultBranch(repository: Repository, table: RefTable): Promise<Resolved> {
  const { head, refs } = table;
  if (isObjectId(head)) return { commit: head, head: "" };
  const ref = refs.get(head);
  if (ref) return { commit: await commitOf(repository, ref, ""), head };
  if ([...refs.keys()].some(isPublic)) throw notFound("", "the upstream's HEAD names a branch that does not exist");
  return { commit: "", head };
}

/** A full ref, a branch or a tag; undefined if nothing has that name. */
async function byName(repository: Repository, table: RefTable, revision: string): Promise<Resolved | undefined> {
  if (revision.startsWith("refs/")) {
    const ref = isPublic(revision) ? table.refs.get(revision) : undefined;
    if (ref) return { commit: await commitOf(repository, ref, revision), head: headOf(revision) };
  }
  const names = [`refs/heads/${revision}`, `refs/tags/${revision}`].filter((name) => table.refs.has(name));
  const [first, second] = names;
  if (first === undefined) return undefined;
  const commit = await commitOf(repository, table.refs.get(first) as Ref, revision);
  if (second !== undefined && commit !== (await commitOf(repository, table.refs.get(second) as Ref, revision))) {
    throw new WorkerFault("revision-ambiguous", "is a branch and a tag; give the full ref", names);
  }
  return { commit, head: headOf(first) };
}

function headOf(name: string): string {
  return name.startsWith("refs/heads/") ? name : "";
}

async function commitOf(repository: Repository, ref: Ref, revision: string): Promise<string> {
  const { id, type } = await peelId(await repository.odb(), ref.id);
  if (type !== objectType.commit) throw notFound(revision, "it does not name a commit");
  return id;
}

async function byPrefix(repository: Repository, table: RefTable, mirror: string, revision: string): Promise<string> {
  const prefix = revision.toLowerCase();
  if (prefix.length < shortestPrefix || prefix.length > 40 || !/^[0-9a-f]+$/.test(prefix)) throw notFound(revision);
  const found: string[] = [];
  for (const id of objectsWithPrefix(join(mirror, "objects"), prefix)) {
    if (await isReachableCommit(repository, table, id)) found.push(id);
    if (found.length > maxCandidates) break;
  }
  const [only] = found;
  if (only === undefined) throw notFound(revision);
  if (found.length > 1) {
    throw new WorkerFault("revision-ambiguous", "begins the ids of several commits; give more digits", found.sort());
  }
  return only;
}

/** Invariant 1. */
async function isReachableCommit(repository: Repository, table: RefTable, id: string): Promise<boolean> {
  const odb = await repository.odb();
  const object = await findObject(odb, id);
  if (object?.type() !== objectType.commit) return false;
  const tips = new Set<string>();
  for (const [name, ref] of table.refs) {
    if (isPublic(name)) tips.add(ref.peeled ?? ref.id);
  }
  if (isObjectId(table.head)) tips.add(table.head);
  if (tips.has(id)) return true;
  const commits: string[] = [];
  for (const tip of tips) {
    // Tags of trees and blobs reach no commit.
    if ((await findObject(odb, tip))?.type() === objectType.commit) commits.push(tip);
  }
  const oids = commits.map((tip) => git.Oid.fromString(tip));
  return oids.length > 0 && Boolean(await git.Graph.reachableFromAny(repository, git.Oid.fromString(id), oids));
}

function notFound(revision: string, detail = "no branch, tag or reachable commit has this name"): WorkerFault {
  return new WorkerFault("revision-not-found", revision === "" ? `default branch: ${detail}` : detail);
}
