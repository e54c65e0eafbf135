/** Owns the name that a lease is held under unless another is given. */
import { hostname, userInfo } from "node:os";

export function defaultHolder(): string {
  return `${userName()}@${hostname()}`;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A uid without an entry in the user database, as in many containers.
    return `uid${process.getuid?.() ?? ""}`;
  }
}
