/** The port to what is done on the disk behind everything else, a little at a time. Contract as in git-engine.ts. */

/** What to measure. */
export interface MeasureRequest {
  readonly path: string;
  /** Directories whose files belong to somebody else: hard links to them do not count. */
  readonly shared: readonly string[];
  /** Paths below `path` that do not count. Default none. */
  readonly except?: readonly string[];
  /** It is a workspace's, and looked at with its holder's rights. */
  readonly holders: boolean;
}

export interface MaintainMirrorRequest {
  readonly path: string;
  /** Whether what no reference of the mirror reaches may be left out. */
  readonly prune: boolean;
  /** Commits that are needed although no reference may reach them. What is not there is passed over. */
  readonly keep: readonly string[];
  /** What may be taken on the disk for a moment. */
  readonly roomBytes: number;
}

export interface MaintainSalvagesRequest {
  /** The repository of salvages. */
  readonly salvages: string;
  /** Of the repository whose salvages they are. */
  readonly mirror: string;
  /** Where the mirrors of submodules' upstreams are. */
  readonly modules: string;
}

export interface Maintained {
  readonly packs: number;
  /** Whether all was made anew, without what nothing needs. */
  readonly rewritten: boolean;
}

export interface BackgroundFiles {
  /** Bytes that a directory takes by its blocks; 0 if there is none. Takes its time, so as not to be in anybody's way. */
  measure(request: MeasureRequest): Promise<number>;
  /**
   * Merges the small packs that fetches have left in a mirror, or makes all anew as one pack without what nothing needs, where
   * that is worth it. Never while a workspace is being made of it or anything else reads it: then it is put off. Answers how
   * many packs were replaced.
   */
  maintainMirror(request: MaintainMirrorRequest): Promise<Maintained>;
  /** Merges the small packs of all mirrors in a directory. Answers how many were replaced. */
  maintainModules(directory: string): Promise<number>;
  /** Removes the packs that no salvage needs, or that the mirror has in others by now. Answers how many. */
  maintainSalvages(request: MaintainSalvagesRequest): Promise<number>;
}
