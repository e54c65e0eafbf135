/** Owns that a process of the lane behind is in nobody's way. */
import { readdirSync } from "node:fs";
import { constants, setPriority } from "node:os";

let isLowered = false;

/** For as long as this process lives. Where the system gives each thread a priority of its own, all of them get it. */
export function lowerPriority(): void {
  if (isLowered) return;
  isLowered = true;
  for (const id of [0, ...threads()]) {
    try {
      setPriority(id, constants.priority.PRIORITY_LOW);
    } catch {
      // that thread has ended, or it may not be: it only takes longer for others
    }
  }
}

function threads(): readonly number[] {
  try {
    return readdirSync("/proc/self/task").map(Number);
  } catch {
    return [];
  }
}
