/**
 * Owns messages of forges for tests, in the shapes that the forges publish, cut down to what tells one from the other.
 *
 * Sources: docs.github.com/webhooks/webhook-events-and-payloads (issues, pull_request, delete, push), the payload structs of
 * Gitea and Forgejo (modules/structs/hook.go: IssuePayload, PullRequestPayload, DeletePayload, PushPayload), and
 * docs.gitlab.com/user/project/integrations/webhook_events (issue, work item, merge request, push).
 */
import { createHmac, randomUUID } from "node:crypto";
import type { ForgeKind } from "../../src/domain/subject.js";

export interface Sent {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export const noCommit = "0".repeat(40);
const commit = "bffeb74224043ba2feb48d137756c8a9331c449a";

let seconds = 0;
/** No two changes are of one time. */
const changed = () => ({ updated_at: new Date(Date.UTC(2026, 10, 21) + ++seconds * 1_000).toISOString() });

type Named = readonly [event: string, payload: object];

/** GitHub's, which Gitea's and Forgejo's are like. */
export const githubLike = {
  issue: (project: string, action: string, number = 7): Named => [
    "issues",
    {
      action,
      number,
      issue: {
        id: 1,
        number,
        title: "Title",
        state: action === "closed" ? "closed" : "open",
        html_url: `https://x/${project}/issues/${number}`,
        ...changed(),
      },
      repository: repository(project),
      sender: { id: 1, login: "ada" },
    },
  ],
  pull: (project: string, action: string, merged = false, number = 7): Named => [
    "pull_request",
    {
      action,
      number,
      pull_request: {
        id: 1,
        number,
        state: action === "closed" ? "closed" : "open",
        merged,
        head: { ref: "topic" },
        base: { ref: "main" },
        ...changed(),
      },
      repository: repository(project),
      sender: { id: 1, login: "ada" },
    },
  ],
  deleted: (project: string, ref: string, ref_type = "branch"): Named => [
    "delete",
    { ref, ref_type, pusher_type: "user", repository: repository(project), sender: { id: 1, login: "ada" } },
  ],
  push: (project: string, ref = "refs/heads/main", after = commit): Named => [
    "push",
    { ref, before: "28e1879d029cb852e4844d9c718537df08844e03", after, commits: [], repository: repository(project) },
  ],
};

export const gitlab = {
  issue: (project: string, action: string, kind = "issue", number = 7): Named => [
    "Issue Hook",
    {
      object_kind: kind,
      event_type: kind,
      project: gitlabProject(project),
      object_attributes: {
        id: 301,
        iid: number,
        state: action === "close" ? "closed" : "opened",
        action,
        type: "Issue",
      },
    },
  ],
  merge: (project: string, action: string, number = 7): Named => [
    "Merge Request Hook",
    {
      object_kind: "merge_request",
      event_type: "merge_request",
      project: gitlabProject(project),
      object_attributes: { id: 99, iid: number, source_branch: "topic", target_branch: "main", action },
    },
  ],
  push: (project: string, ref = "refs/heads/main", after = commit, kind = "push"): Named => [
    "Push Hook",
    {
      object_kind: kind,
      event_name: kind,
      before: "95790bf891e76fee5e1747ab589903a6a1f80f22",
      after,
      ref,
      checkout_sha: after === noCommit ? null : after,
      project: gitlabProject(project),
      commits: [],
    },
  ],
};

function repository(project: string) {
  const [owner = "", name = ""] = project.split("/");
  return {
    id: 1,
    name,
    full_name: project,
    owner: { login: owner },
    default_branch: "main",
    clone_url: `https://x/${project}.git`,
  };
}

function gitlabProject(project: string) {
  return { id: 15, path_with_namespace: project, web_url: `https://x/${project}`, default_branch: "main" };
}

export function hmac(secret: string, body: string): string {
  return createHmac("sha256", secret).update(body).digest("hex");
}

/** A message as the forge would send it. */
export function message(
  kind: ForgeKind,
  secret: string,
  [event, payload]: Named,
  delivery: string = randomUUID(),
): Sent {
  const body = JSON.stringify(payload);
  return { headers: { "content-type": "application/json", ...headersOf(kind, secret, event, body, delivery) }, body };
}

function headersOf(kind: ForgeKind, secret: string, event: string, body: string, id: string): Record<string, string> {
  const signature = hmac(secret, body);
  const hub = { "x-hub-signature-256": `sha256=${signature}`, "x-github-event": event, "x-github-delivery": id };
  const gitea = { "x-gitea-event": event, "x-gitea-delivery": id, "x-gitea-signature": signature };
  if (kind === "github") return hub;
  if (kind === "gitea") return { ...hub, ...gitea };
  if (kind === "forgejo") {
    return { ...hub, ...gitea, "x-forgejo-event": event, "x-forgejo-delivery": id, "x-forgejo-signature": signature };
  }
  const uuids = { "x-gitlab-event-uuid": randomUUID(), "x-gitlab-webhook-uuid": randomUUID(), "idempotency-key": id };
  return { "x-gitlab-event": event, "x-gitlab-token": secret, "x-gitlab-instance": "https://x", ...uuids };
}
