/** Owns the names beside a workspace's directory that work in progress on it uses: one list for all who make, find or remove them. */

/** Suffixes of a workspace's path. What a killed attempt leaves there goes when the workspace is next worked on. */
export const beside = {
  /** A `.git` that is being made. */
  made: ".git-new",
  /** A `.git` of ours that has been replaced. */
  replaced: ".git-old",
  /** What stood where a workspace is to be made. */
  aside: ".aside",
  /** A submodule that is being made. */
  module: ".module-new",
  /** Submodules of ours that are being replaced. */
  modules: ".modules-old",
  /** Where verification checks out what it compares with. */
  verified: ".verify",
  /** Objects of a salvage that is being restored. */
  restored: ".git-restore",
} as const;

/** For regular expressions, of Postgres as well: any of the suffixes. */
export const besidePattern = `(?:${Object.values(beside)
  .map((suffix) => suffix.replace(".", "[.]"))
  .join("|")})`;
