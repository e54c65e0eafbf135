/** Owns how GitHub is asked: `GET /repos/{owner}/{repo}/issues/{number}` and `…/pulls/{number}` of its REST API. */
import { isRecord } from "../domain/record.js";
import { encodedSegments, type ForgeReader, plainState } from "./reader.js";

export const github: ForgeReader = {
  headers: { accept: "application/vnd.github+json", "x-github-api-version": "2022-11-28" },
  authentication: (token) => ({ authorization: `Bearer ${token}` }),
  path: ({ project, kind, number }) =>
    `/repos/${encodedSegments(project)}/${kind === "ISSUE" ? "issues" : "pulls"}/${number}`,
  state: (body) => {
    const state = plainState(body.state);
    // a pull request that was asked for as an issue says in a part of its own when it was merged
    const merged = body.merged_at ?? (isRecord(body.pull_request) ? body.pull_request.merged_at : undefined);
    return state === "CLOSED" && (body.merged === true || typeof merged === "string") ? "MERGED" : state;
  },
};
