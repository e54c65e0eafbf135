/** Owns waiting until something may have changed about a workspace. */
import type { Wake } from "../ports/wake.js";
import type { Keeper } from "./cleaning/keeper.js";

/** A hint may get lost. */
const lookEveryMs = 500;

/** Resolves when work on the workspace has ended here, something has changed elsewhere, it is time to look again, or `signal` aborts. */
export function workspaceChange(
  { wake, keeper }: { readonly wake: Wake; readonly keeper: Keeper },
  workspaceId: string,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      for (const stop of stops) stop();
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const stops = [
      wake.onHint((from) => from === "elsewhere" && done()),
      keeper.onFinished((finished) => finished === workspaceId && done()),
    ];
    const timer = setTimeout(done, lookEveryMs);
    signal.addEventListener("abort", done);
  });
}
