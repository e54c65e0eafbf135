/** Owns how GitLab is asked: `GET /projects/{path}/issues/{iid}` and `…/merge_requests/{iid}` of its REST API. */
import type { ForgeReader } from "./reader.js";

export const gitlab: ForgeReader = {
  headers: { accept: "application/json" },
  authentication: (token) => ({ "private-token": token }),
  path: ({ project, kind, number }) =>
    `/projects/${encodeURIComponent(project)}/${kind === "ISSUE" ? "issues" : "merge_requests"}/${number}`,
  state: ({ state }, { kind }) => {
    // locked: while it is being merged
    if (state === "opened" || (state === "locked" && kind === "PULL_REQUEST")) return "OPEN";
    if (state === "merged" && kind === "PULL_REQUEST") return "MERGED";
    return state === "closed" ? "CLOSED" : undefined;
  },
};
