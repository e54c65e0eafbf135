/**
 * Owns how interceptors look at and change a stream of messages.
 *
 * Invariants:
 * 1. `ended` is called exactly once for a stream that was pulled at least once or dropped, with the error if there was one.
 * 2. Dropping the stream reaches its source even if it was never pulled; a generator alone would not begin.
 */

export interface StreamHooks {
  /** What to throw instead of an error. */
  readonly mapError?: (error: unknown) => unknown;
  /** `dropped`: nobody wanted the rest. */
  readonly ended?: (outcome: { readonly error?: unknown; readonly dropped: boolean }) => void;
}

export function observed<T>(source: AsyncIterable<T>, hooks: StreamHooks): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = source[Symbol.asyncIterator]();
      let isOver = false;
      const end = (outcome: { error?: unknown; dropped: boolean }) => {
        if (isOver) return;
        isOver = true;
        hooks.ended?.(outcome);
      };
      const settle = async (step: Promise<IteratorResult<T>>): Promise<IteratorResult<T>> => {
        try {
          const result = await step;
          if (result.done) end({ dropped: false });
          return result;
        } catch (thrown) {
          const error = hooks.mapError ? hooks.mapError(thrown) : thrown;
          end({ error, dropped: false });
          throw error;
        }
      };
      return {
        next: () => settle(iterator.next()),
        return: async (value?: unknown) => {
          end({ dropped: true });
          return (await iterator.return?.(value)) ?? { done: true, value };
        },
        throw: async (error?: unknown) => {
          end({ error, dropped: true });
          if (iterator.throw) return iterator.throw(error);
          throw error;
        },
      };
    },
  };
}
