/**
 * Owns how Gitea and Forgejo, whose API is the same, are asked: `GET /repos/{owner}/{repo}/issues/{index}` and
 * `…/pulls/{index}`.
 */
import { isRecord } from "../domain/record.js";
import { encodedSegments, type ForgeReader, plainState } from "./reader.js";

export const gitea: ForgeReader = {
  headers: { accept: "application/json" },
  authentication: (token) => ({ authorization: `token ${token}` }),
  path: ({ project, kind, number }) =>
    `/repos/${encodedSegments(project)}/${kind === "ISSUE" ? "issues" : "pulls"}/${number}`,
  state: (body) => {
    const state = plainState(body.state);
    // a pull request that was asked for as an issue says so in a part of its own
    const isMerged = body.merged === true || (isRecord(body.pull_request) && body.pull_request.merged === true);
    return state === "CLOSED" && isMerged ? "MERGED" : state;
  },
};
