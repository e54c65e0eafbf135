/**
 * Implements the port `Credentials` from the server's configuration.
 *
 * Invariants:
 * 1. A secret is read from its file or program for each use, so that it can be rotated, and is kept nowhere.
 * 2. A credential goes to URLs under its own prefix only: prefixes are compared by whole path segments.
 */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { Failure } from "../domain/failure.js";
import { firstLine } from "../domain/secret-text.js";
import type { Credentials } from "../ports/credentials.js";
import type { UpstreamCredential } from "../ports/git-engine.js";

/** One entry of the configuration's `credentials`. */
export interface CredentialEntry {
  readonly name: string;
  /** Empty: only for repositories that name it. */
  readonly urlPrefix: string;
  readonly username?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly knownHostsFile?: string | undefined;
  /** A program that prints the password; it gets the question as its argument, as git's own askpass does. */
  readonly askpass?: string | undefined;
}

const askpassTimeoutMs = 10_000;
const runProgram = promisify(execFile);

export class ConfiguredCredentials implements Credentials {
  readonly #entries: readonly CredentialEntry[];

  constructor(entries: readonly CredentialEntry[]) {
    this.#entries = entries;
  }

  has(name: string): boolean {
    return this.#entries.some((entry) => entry.name === name);
  }

  async forUrl(url: string, name: string): Promise<UpstreamCredential | undefined> {
    const fitting = this.#entries
      .filter((entry) => (name ? entry.name === name : entry.urlPrefix) && isUnder(url, entry.urlPrefix))
      .sort((a, b) => b.urlPrefix.length - a.urlPrefix.length);
    const [entry] = fitting;
    if (entry) return this.#read(entry, url);
    if (name) throw new Failure("UPSTREAM_DENIED", `the credential ${name} is not one for this URL`);
    return undefined;
  }

  async #read(entry: CredentialEntry, url: string): Promise<UpstreamCredential> {
    try {
      const password = entry.passwordFile
        ? firstLine(await readFile(entry.passwordFile, "utf8"))
        : entry.askpass
          ? await ask(entry.askpass, url)
          : undefined;
      const privateKey = entry.keyFile ? await readFile(entry.keyFile, "utf8") : undefined;
      const knownHosts = entry.knownHostsFile ? await readFile(entry.knownHostsFile, "utf8") : undefined;
      return {
        ...(entry.username ? { username: entry.username } : {}),
        ...(password === undefined ? {} : { password }),
        ...(privateKey === undefined ? {} : { privateKey }),
        ...(knownHosts === undefined ? {} : { knownHosts }),
      };
    } catch (error) {
      throw new Failure("UPSTREAM_DENIED", `the server could not read its credential ${entry.name}`, { cause: error });
    }
  }
}

async function ask(program: string, url: string): Promise<string> {
  const { stdout } = await runProgram(program, [`Password for '${url}': `], {
    timeout: askpassTimeoutMs,
    maxBuffer: 64 * 1024,
  });
  return firstLine(stdout);
}

function isUnder(url: string, prefix: string): boolean {
  if (!prefix) return true;
  const base = prefix.replace(/\/+$/, "");
  return url === base || url.startsWith(`${base}/`) || (prefix.endsWith(":") && url.startsWith(prefix));
}
