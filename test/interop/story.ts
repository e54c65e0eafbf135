/**
 * Owns: the story that every foreign client plays against the real server, as facts that it reports.
 *
 * It watches, acquires twice with one request id, reads README.md in the workspace, renews to 120 s, lists,
 * is refused with a forged token and with wrong fields, releases twice, and heartbeats once too often.
 */
import { expect } from "vitest";

/** What a failed call said: the status's name, the reason of its ErrorInfo, and the fields of its BadRequest. */
export interface Refusal {
  readonly code: string;
  readonly domain: string;
  readonly reason: string;
  readonly fields: readonly string[];
}

/** What a client saw. */
export interface Story {
  readonly leaseId: string;
  /** Whether the second Acquire with the same request id got the same lease and token. */
  readonly sameLease: boolean;
  /** README.md in the workspace. */
  readonly readme: string;
  readonly source: string;
  /** What remained after the heartbeat. */
  readonly remainingSeconds: number;
  /** Ids of the leases that ListActive answered for the client's own holder. */
  readonly active: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** A heartbeat with a forged token. */
  readonly forged: Refusal;
  /** An Acquire without a repository and with a negative TTL. */
  readonly wrong: Refusal;
  readonly alreadyReleased: readonly boolean[];
  /** A heartbeat after the release. */
  readonly late: Refusal;
  /** Kinds of the events of this lease, in order, up to its end. */
  readonly events: readonly string[];
  readonly endReason: string;
}

/** What every client must have seen. */
export function expectStory(story: Story): void {
  expect(story).toEqual({
    leaseId: expect.stringMatching(/^w\d+\.\d+$/),
    sameLease: true,
    readme: "# demo\n",
    source: expect.stringMatching(/^WORKSPACE_SOURCE_(CREATED|REUSED|WARM)$/),
    remainingSeconds: expect.any(Number),
    active: [story.leaseId],
    labels: { job: "interop" },
    forged: { code: "PERMISSION_DENIED", domain: "leasehold", reason: "TOKEN_INVALID", fields: [] },
    wrong: { code: "INVALID_ARGUMENT", domain: "leasehold", reason: "FIELD_INVALID", fields: ["repository", "ttl"] },
    alreadyReleased: [false, true],
    late: { code: "FAILED_PRECONDITION", domain: "leasehold", reason: "LEASE_LOST", fields: [] },
    events: ["EVENT_KIND_LEASE_ACQUIRED", "EVENT_KIND_LEASE_ENDED"],
    endReason: "LEASE_END_REASON_RELEASED",
  });
  expect(story.remainingSeconds).toBeGreaterThan(110);
  expect(story.remainingSeconds).toBeLessThanOrEqual(120);
}
