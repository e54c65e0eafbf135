/**
 * Owns who may work on a directory at once: any number who add to it or read it, or one who may take it away.
 *
 * Invariant: in the order of asking; nobody waits for ever behind those who came later.
 */
export class DirectoryTurns {
  private readonly last = new Map<string, Promise<unknown>>();
  private readonly together = new Map<string, Promise<unknown>>();

  /** Runs beside others who share. */
  share<T>(path: string, work: () => Promise<T>): Promise<T> {
    const mine = (this.last.get(path) ?? Promise.resolve()).then(work);
    this.join(this.together, path, Promise.all([this.together.get(path), settled(mine)]));
    return mine;
  }

  /** Whether nobody has, or waits for, a turn. */
  isFree(path: string): boolean {
    return !this.last.has(path) && !this.together.has(path);
  }

  /** Runs alone. */
  alone<T>(path: string, work: () => Promise<T>): Promise<T> {
    const before = Promise.all([this.last.get(path), this.together.get(path)]);
    const mine = before.then(work);
    this.together.delete(path);
    this.join(this.last, path, settled(mine));
    return mine;
  }

  private join(map: Map<string, Promise<unknown>>, path: string, turn: Promise<unknown>): void {
    map.set(path, turn);
    void turn.then(() => {
      if (map.get(path) === turn) map.delete(path);
    });
  }
}

function settled(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch(() => undefined);
}
