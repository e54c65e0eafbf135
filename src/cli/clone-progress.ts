/** Owns the progress bar of a first clone: what a person at a terminal sees while an acquire waits for the mirror. */
import { SingleBar } from "cli-progress";
import type { Repository } from "../../gen/leasehold/v1/repository_pb.js";
import type { Client } from "../client/index.js";

/** Acquires that answer faster than this, in milliseconds, are not worth a bar. */
const quietMs = 800;
const pollMs = 400;

/** Runs `acquire`, with a bar on standard error while the repository's mirror is being made. */
export async function withCloneProgress<T>(client: Client, repository: string, acquire: () => Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return acquire();
  const done = new AbortController();
  const shown = showProgress(client, repository, done.signal);
  try {
    return await acquire();
  } finally {
    done.abort();
    await shown;
  }
}

/** Never fails: who may not list repositories, or cannot, gets no bar. */
async function showProgress(client: Client, asked: string, done: AbortSignal): Promise<void> {
  const bar = new SingleBar({
    format: "cloning {name} [{bar}] {percentage}% {value}/{total} objects, {size}",
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    emptyOnZero: true,
  });
  let running = false;
  try {
    await elapse(quietMs, done);
    while (!done.aborted) {
      const { repositories } = await client.admin.listRepositories(
        { pageSize: 1_000 },
        { timeoutMs: 5_000, signal: done },
      );
      const found = repositories.find((repository) => isAsked(repository, asked));
      const total = Number(found?.progress?.totalObjects ?? 0n);
      if (found?.progress !== undefined && total > 0) {
        const value = Number(found.progress.receivedObjects);
        const facts = { name: found.name, size: sizeText(Number(found.progress.receivedBytes)) };
        if (!running) bar.start(total, value, facts);
        running = true;
        bar.setTotal(total);
        bar.update(value, facts);
      } else if (running) {
        break;
      }
      await elapse(pollMs, done);
    }
  } catch {
    // Not an admin, or no answer: the acquire itself will tell.
  } finally {
    if (running) bar.stop();
  }
}

function isAsked(repository: Repository, asked: string): boolean {
  return repository.name === asked || plain(repository.url) === plain(asked);
}

/** A URL without what makes no difference. */
function plain(url: string): string {
  return url
    .replace(/^file:\/\//, "")
    .replace(/\/+$/, "")
    .replace(/\.git$/, "")
    .toLowerCase();
}

function sizeText(bytes: number): string {
  if (bytes < 1_000_000) return `${Math.round(bytes / 1_000)} kB`;
  return bytes < 1_000_000_000 ? `${(bytes / 1_000_000).toFixed(1)} MB` : `${(bytes / 1_000_000_000).toFixed(2)} GB`;
}

function elapse(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    signal.addEventListener("abort", finish, { once: true });
    if (signal.aborted) finish();
  });
}
