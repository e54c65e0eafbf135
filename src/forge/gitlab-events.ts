/** Owns what messages of GitLab mean, of projects, groups and the whole instance. */
import type { ForgeEvent } from "../domain/forge-event.js";
import { branchOf, isNoCommit, type Message, number, part, project, text } from "./message.js";

const states = { close: "CLOSED", merge: "MERGED", reopen: "OPEN" } as const;

/** Undefined: nothing is done for it. */
export function gitlabEvent(message: Message): ForgeEvent | undefined {
  const kind = part(message, "object_kind");
  if (kind === "issue" || kind === "work_item" || kind === "merge_request") return subjectEvent(kind, message);
  if (kind !== "push" && kind !== "tag_push") return undefined;
  const named = project(message, "project.path_with_namespace");
  const branch = branchOf(text(message, "ref"));
  return isNoCommit(message.after) && branch !== undefined
    ? { kind: "branch-deleted", project: named, branch }
    : { kind: "push", project: named };
}

function subjectEvent(kind: "issue" | "work_item" | "merge_request", message: Message): ForgeEvent | undefined {
  const action = part(message, "object_attributes.action");
  if (action !== "close" && action !== "merge" && action !== "reopen") return undefined;
  const isIssue = kind !== "merge_request";
  // an epic is of a group and not of a project: no session is about it
  if (isIssue && part(message, "project.path_with_namespace") === undefined) return undefined;
  return {
    kind: "subject",
    project: project(message, "project.path_with_namespace"),
    subject: isIssue ? "ISSUE" : "PULL_REQUEST",
    number: number(message, "object_attributes.iid"),
    state: states[action],
  };
}
