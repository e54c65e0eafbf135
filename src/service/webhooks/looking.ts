/**
 * Owns looking for something to do again and again.
 *
 * Invariant: one look at a time; a call during one makes it look once more. A look that fails is told, and is over.
 */
export class Looking {
  readonly #look: () => Promise<unknown>;
  readonly #failed: (error: unknown) => void;
  #running: Promise<void> | undefined;
  #again = false;

  constructor(look: () => Promise<unknown>, failed: (error: unknown) => void) {
    this.#look = look;
    this.#failed = failed;
  }

  look(): void {
    this.#again = true;
    this.#running ??= this.#lookUntilDone().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when no look is under way. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #lookUntilDone(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      try {
        await this.#look();
      } catch (error) {
        this.#failed(error);
      }
    }
  }
}
