/**
 * Owns who is at fault when a call fails: the only place that reads libgit2's texts.
 *
 * Invariants:
 * 1. This host's disk is never blamed on the caller or the upstream, nor the other way round.
 * 2. Messages are ours: no path, no URL, nothing of a credential. The original is the cause, for the log.
 */
import { Failure, type FailureReason } from "../domain/failure.js";
import { tellsHostFault } from "./host-fault.js";
import type { Fault, OperationName } from "./protocol.js";
import { CallError } from "./worker-pool.js";

/** What of the call is needed to judge. */
export interface CallSubject {
  readonly operation: OperationName;
  /** For `resolve`. */
  readonly revision?: string;
  /** For calls with an upstream: its URL. */
  readonly url?: string;
  /** Directories of this host that the call works on. */
  readonly own?: readonly string[];
}

const accessTexts = /permission denied|operation not permitted/i;
const deniedTexts =
  /unexpected http status code: 40[137]|remote authentication required|remote rejected authentication|authentication replays|failed to authenticate|invalid or unknown remote ssh hostkey|host ?key|not owned by current user|certificate/i;
/** libgit2's error numbers: authentication wanted, certificate refused. */
const deniedNumbers = new Set([-16, -17]);

export function classify(error: unknown, subject: CallSubject): Failure {
  if (error instanceof Failure) return error;
  if (!(error instanceof CallError)) return new Failure("INTERNAL", "internal error", { cause: error });
  const remote = subject.url !== undefined;
  switch (error.kind) {
    case "aborted":
      return new Failure("CANCELLED", "the call was cancelled", { cause: error });
    case "closed":
      return new Failure("DRAINING", "the server is stopping", { cause: error, retryAfterMs: 1000 });
    case "timeout":
      if (!remote) return new Failure("HOST_IO", "the work on this host's disk took too long", { cause: error });
      return new Failure("UPSTREAM_UNAVAILABLE", "the upstream did not answer in time", { cause: error });
    case "died":
      return new Failure("INTERNAL", "the git work ended unexpectedly", { cause: error });
    case "failed":
      return classifyFault(error.fault as Fault, subject);
  }
}

function classifyFault(fault: Fault, subject: CallSubject): Failure {
  const cause = withoutCredential(fault);
  const fail = (reason: FailureReason, message: string, metadata: Record<string, string> = {}): Failure =>
    new Failure(reason, message, { cause, metadata });
  const revision = subject.revision ?? "";
  if (fault.kind === "revision-not-found") {
    return fail("REVISION_NOT_FOUND", `revision ${JSON.stringify(revision)}: ${fault.message}`, { revision });
  }
  if (fault.kind === "revision-ambiguous") {
    const candidates = (fault.candidates ?? []).join(" ");
    return fail("REVISION_AMBIGUOUS", `revision ${JSON.stringify(revision)} ${fault.message}`, {
      revision,
      candidates,
    });
  }
  if (fault.kind === "salvage-not-found") return fail("SALVAGE_NOT_FOUND", fault.message);
  if (fault.kind === "obstructed") return fail("HOST_IO", fault.message);
  if (isFull(fault)) return fail("DISK_LOW", "this host's disk is full");
  if (isDisk(fault, subject)) return fail("HOST_IO", "this host's disk failed, or refuses the server");
  if (subject.url === undefined) return fail("INTERNAL", "internal error");
  if (fault.kind === "upstream-denied" || deniedNumbers.has(fault.errno ?? 0) || deniedTexts.test(fault.message)) {
    return fail("UPSTREAM_DENIED", denial(fault));
  }
  return fail("UPSTREAM_UNAVAILABLE", unavailability(fault));
}

function isFull({ code, message }: Fault): boolean {
  return code === "ENOSPC" || code === "EDQUOT" || /no space left on device|quota exceeded/i.test(message);
}

/** Invariant 1: a refused access is the disk's only where it is one of our own directories that refused. */
function isDisk(fault: Fault, subject: CallSubject): boolean {
  if (fault.kind === "host-io") return true;
  if (tellsHostFault(fault)) return true;
  const refused = fault.code === "EACCES" || fault.code === "EPERM" || accessTexts.test(fault.message);
  if (!refused) return false;
  return subject.url === undefined || (subject.own ?? []).some((directory) => fault.message.includes(directory));
}

function denial(fault: Fault): string {
  if (fault.errno === -17 || /host ?key/i.test(fault.message)) {
    return "the upstream's host key is unknown or has changed";
  }
  if (/not owned/.test(fault.message)) return "the upstream's directory belongs to another user";
  if (/certificate/i.test(fault.message)) return "the upstream's certificate is not trusted";
  return "the upstream refused the credential, or wants one";
}

function unavailability(fault: Fault): string {
  // ours, and without anything of the upstream's
  if (/^(the upstream does not have|it has another content for) the Git LFS object [0-9a-f]+$/.test(fault.message)) {
    return fault.message;
  }
  const status = /unexpected http status code: (\d{3})/.exec(fault.message)?.[1];
  if (status === "404") return "the upstream has no such repository";
  if (status !== undefined) return `the upstream answered with status ${status}`;
  if (/failed to resolve/i.test(fault.message)) return "the upstream's name is unknown";
  if (/redirect/i.test(fault.message)) return "the upstream redirects to another host; give the URL it redirects to";
  if (/could not find repository|unsupported URL protocol|not found/i.test(fault.message)) {
    return "there is no repository at the upstream";
  }
  return "the upstream cannot be reached";
}

/** The cause goes to the log, which must not have URL credentials either. */
function withoutCredential(fault: Fault): Error {
  const error = new Error(fault.message.replace(/:\/\/[^/@\s]*@/g, "://***@"));
  error.name = "GitFault";
  return Object.assign(error, { code: fault.code, errno: fault.errno });
}
