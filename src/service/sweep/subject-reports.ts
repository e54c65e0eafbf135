/**
 * Owns what is to be done when a forge tells of itself, as the keeper of webhooks hands it on: the same path as the sweep's.
 *
 * Invariant: each is safe to be told again; a report is stored before its promise resolves.
 */
export interface SubjectReports {
  /** What a forge said of a subject, by its plain URL (`Subject.url`). OPEN takes back a drop that is pending. */
  note(subjectUrl: string, state: "OPEN" | "CLOSED" | "MERGED"): Promise<void>;
  /** A branch is gone: parked workspaces of it, whose subject is not open, are given up with salvage. */
  branchDeleted(repository: string, branch: string): Promise<void>;
}
