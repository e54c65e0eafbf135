// Owns: where things lie: the checkout, what is built, and this user's cache.
import { createHash } from "node:crypto";
import { homedir, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const checkout = fileURLToPath(new URL("..", import.meta.url));

/** A path in the checkout. */
export function root(path = "") {
  return join(checkout, path);
}

/** A path below `dist/`. */
export function built(path = "") {
  return join(checkout, "dist", path);
}

/** Where compiled binaries and headers are kept between checkouts; undefined where the user wants none kept. */
export function cacheDirectory() {
  if (process.env.LEASEHOLD_NO_BUILD_CACHE) {
    return undefined;
  }
  const base = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  return join(resolve(base), "leasehold");
}

/** The lock that set-ups of one checkout share; not in the checkout, which may be read-only when all is ready. */
export function lockFile() {
  const digest = createHash("sha256").update(checkout).digest("hex").slice(0, 16);
  return join(tmpdir(), `leasehold-setup-${process.getuid?.() ?? "user"}-${digest}.lock`);
}
