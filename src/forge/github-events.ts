/** Owns what messages of GitHub mean, and those of Gitea and Forgejo, which are of the same shape where they matter here. */
import type { ForgeEvent } from "../domain/forge-event.js";
import { branchOf, isNoCommit, type Message, number, part, project, text } from "./message.js";

/** `name`: as the event header calls it. Undefined: nothing is done for it. */
export function githubEvent(name: string, message: Message): ForgeEvent | undefined {
  if (name === "issues" || name === "pull_request") return subjectEvent(name, message);
  if (name === "delete") {
    // the ref's short name
    if (text(message, "ref_type") !== "branch") return undefined;
    const branch = text(message, "ref").replace(/^refs\/heads\//, "");
    return { kind: "branch-deleted", project: project(message, "repository.full_name"), branch };
  }
  if (name !== "push") return undefined;
  const named = project(message, "repository.full_name");
  const branch = branchOf(text(message, "ref"));
  const isGone = message.deleted === true || isNoCommit(message.after);
  return isGone && branch !== undefined
    ? { kind: "branch-deleted", project: named, branch }
    : { kind: "push", project: named };
}

function subjectEvent(name: "issues" | "pull_request", message: Message): ForgeEvent | undefined {
  const action = text(message, "action");
  if (action !== "closed" && action !== "reopened") return undefined;
  const isIssue = name === "issues";
  const isMerged = !isIssue && part(message, "pull_request.merged") === true;
  return {
    kind: "subject",
    project: project(message, "repository.full_name"),
    subject: isIssue ? "ISSUE" : "PULL_REQUEST",
    number: number(message, isIssue ? "issue.number" : "pull_request.number"),
    state: action === "reopened" ? "OPEN" : isMerged ? "MERGED" : "CLOSED",
  };
}
