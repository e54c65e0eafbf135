/** Owns who this process is to the database. */
export interface Identity {
  /** Row in `hosts`; another one once the host was removed while this process lived. */
  hostId: number;
  readonly hostName: string;
  /** Of the data directory that the name belongs to. */
  readonly dataId: string;
  /** Row in `servers` that attends the tickets of this process's callers; the same for the process's whole life. */
  readonly deskId: bigint;
  /** Row in `servers` under which this process last owned its host; a new one each time it gains ownership. */
  ownerId: bigint;
}
