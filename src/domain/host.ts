/** Owns what a host is: a data directory that one server process at a time owns. */

export const hostNamePattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}$/;

export interface Host {
  readonly name: string;
  /** A server owns it and has reached the database within the last 5 s. */
  readonly owned: boolean;
  readonly wellTime?: Date;
  readonly seenTime?: Date;
  readonly createTime: Date;
  readonly workspaces: number;
  readonly leases: number;
}
