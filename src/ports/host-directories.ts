/** The port to what stands in this host's directories, by its place alone: nothing is opened, no symlink followed. */
export interface DirectorySurvey {
  /** `<root>/<repository>/w<id>[.<fence>]`. `marked`: its trusted index, which only this service writes, is there. */
  readonly workspaces: readonly {
    readonly path: string;
    readonly repository: string;
    readonly workspaceId: string;
    readonly fence: bigint;
    readonly marked: boolean;
  }[];
  /** `<root>/<name>.git`. `marked`: it has the record of its objects that this service makes. */
  readonly mirrors: readonly { readonly path: string; readonly name: string; readonly marked: boolean }[];
  /** All else that stands there. */
  readonly others: readonly string[];
}

export interface HostDirectories {
  /** `indexes`: where trusted indexes are. */
  survey(workspaceRoot: string, mirrorRoot: string, indexes: string): Promise<DirectorySurvey>;
  /** Removes what mirrors that were being made by processes before this one have left. Answers how much it was. */
  clearStaging(staging: string): Promise<number>;
}
