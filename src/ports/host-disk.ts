/**
 * The port to the disk of the owned host: how much room there is, and the reserve, a file that is there to be given up when
 * work must be saved and there is no room for it.
 */

/** One file system that directories of the server are on. */
export interface FileSystem {
  readonly totalBytes: number;
  /** What the server's user may still write. */
  readonly freeBytes: number;
}

export interface HostDisk {
  /** The data directory's first, then those of mirrors and workspaces, each file system once. */
  look(): Promise<readonly [FileSystem, ...FileSystem[]]>;
  /** Bytes that the reserve has now. */
  reserveBytes(): Promise<number>;
  /** Makes the reserve larger by at most `bytes`; stops where the disk is full. */
  growReserve(bytes: number): Promise<void>;
  /** Gives the reserve up. Idempotent. */
  releaseReserve(): Promise<void>;
}
