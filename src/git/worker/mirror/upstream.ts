/**
 * Owns the talk with an upstream: what it has, and fetching objects from it.
 *
 * Invariants:
 * 1. A credential is offered once per connection; an upstream that refuses it is not offered it again.
 * 2. No callback throws, rejects or returns a number: nodegit would abort the process, or take it as consent.
 * 3. Only the host that was named is talked to: a redirect to another one is refused (`upstreamConfiguration`). libgit2
 *    would offer it the password, and whoever allowed the URL did not allow that host.
 * 4. Nothing of a credential is written anywhere but into the worker's own HOME (known hosts, which are no secret).
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { MirrorProgress } from "../../../domain/repository.js";
import type { UpstreamCredential } from "../../../ports/git-engine.js";
import type { UpstreamAccess } from "../../protocol.js";
import { WorkerFault } from "../files/fault.js";
import { git, type Remote, type RemoteCallbacks, type Repository } from "../nodegit.js";
import { isObjectId, isRefName } from "./refs.js";

/** Milliseconds between two reports of progress. */
const progressThrottleMs = 100;

/** `GIT_CREDENTIAL_*` of libgit2. */
const credentialType = { userpass: 1, username: 32, sshMemory: 64 } as const;

/** `GIT_REMOTE_DOWNLOAD_TAGS_NONE`: tags come by their refspec. */
const noTags = 2;
const directionFetch = 0;

/** What a repository's configuration needs to have for invariant 3: nodegit passes no such option on. */
export const upstreamConfiguration = "[http]\n\tfollowRedirects = false\n";

/** What an upstream advertises. */
export interface Advertisement {
  /** Full name of the branch that HEAD names; undefined if it names none or the upstream does not say. */
  readonly head: string | undefined;
  /** What HEAD is at; undefined without commits. */
  readonly headId: string | undefined;
  /** Ids by full name; names that git would not accept are left out. */
  readonly refs: ReadonlyMap<string, string>;
}

/** An open connection. */
export interface Connection {
  readonly advertisement: Advertisement;
  /** Fetches the objects that the refspecs name and that `repository` lacks. Writes no references. */
  download(refspecs: readonly string[]): Promise<void>;
}

export async function withUpstream<T>(
  repository: Repository,
  access: UpstreamAccess,
  report: (progress: MirrorProgress) => void,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  writeKnownHosts(access.credential?.knownHosts);
  const remote = await git.Remote.createAnonymous(repository, access.url);
  const login = new Login(access.credential);
  const callbacks: RemoteCallbacks = {
    credentials: (_url, username, allowed) => login.offer(username, allowed),
    transferProgress: {
      throttle: progressThrottleMs,
      callback: (progress) =>
        report({
          receivedObjects: progress.receivedObjects(),
          totalObjects: progress.totalObjects(),
          receivedBytes: progress.receivedBytes(),
        }),
    },
  };
  try {
    await login.judge(remote.connect(directionFetch, callbacks, {}, []));
    const advertisement = await readAdvertisement(remote);
    return await work({
      advertisement,
      download: (refspecs) => login.judge(remote.download([...refspecs], { callbacks, downloadTags: noTags })),
    });
  } finally {
    await remote.disconnect().catch(() => {});
  }
}

async function readAdvertisement(remote: Remote): Promise<Advertisement> {
  const refs = new Map<string, string>();
  let head: string | undefined;
  let headId: string | undefined;
  for (const advertised of await remote.referenceList()) {
    const name = advertised.name();
    const id = advertised.oid().toString();
    if (name === "HEAD") {
      head = advertised.symrefTarget() ?? undefined;
      headId = id;
    } else if (isRefName(name) && isObjectId(id)) refs.set(name, id);
  }
  return { head: head && isRefName(head) ? head : undefined, headId, refs };
}

/** What of a credential has been offered on a connection. */
class Login {
  private readonly credential: UpstreamCredential | undefined;
  private asked = false;
  private offered = false;

  constructor(credential: UpstreamCredential | undefined) {
    this.credential = credential;
  }

  /** The credential callback (invariants 1 and 2). Undefined makes libgit2 give up. */
  offer(usernameFromUrl: string, allowed: number): unknown {
    try {
      this.asked = true;
      const { username = usernameFromUrl || "git", password, privateKey } = this.credential ?? {};
      if (allowed & credentialType.username && !(allowed & ~credentialType.username)) {
        return git.Credential.usernameNew(username).catch(() => undefined);
      }
      if (this.offered) return undefined;
      this.offered = true;
      if (privateKey !== undefined && allowed & credentialType.sshMemory) {
        return git.Credential.sshKeyMemoryNew(username, "", privateKey, "");
      }
      if (password !== undefined && allowed & credentialType.userpass) {
        return git.Credential.userpassPlaintextNew(username, password);
      }
      return undefined;
    } catch {
      return undefined;
    }
  }

  /** Names the fault where it is known that a credential was wanted: libgit2's own texts are vague then. */
  async judge<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (!this.asked) throw error;
      const message = error instanceof Error ? error.message : String(error);
      if (/authenti|credential|no callback set|replays|username/i.test(message)) {
        throw new WorkerFault("upstream-denied", message);
      }
      throw error;
    }
  }
}

/** libssh2 reads `$HOME/.ssh/known_hosts`; HOME is the worker's own. Without the file every host is refused. */
function writeKnownHosts(lines: string | undefined): void {
  const directory = join(homedir(), ".ssh");
  const file = join(directory, "known_hosts");
  rmSync(file, { force: true });
  if (lines === undefined) return;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeFileSync(file, lines.endsWith("\n") ? lines : `${lines}\n`, { mode: 0o600 });
}
