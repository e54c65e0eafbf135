/** Owns who the jobs are that work in workspaces. */

/** The uid of whoever holds workspaces: in the one-uid layout, our own. */
export function holderUid(): number {
  return process.geteuid?.() ?? -1;
}
