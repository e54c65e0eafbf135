/**
 * Owns: the last line of a test run, `N passed, N failed, N skipped`, alone on its line for whoever counts.
 *
 * Before it, what was skipped, so that nobody takes it for shown.
 *
 * 1. A file that could not even be loaded counts as one failure.
 */
import type { Reporter, TestModule } from "vitest/node";

export default class TotalsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const skipped = new Map<string, number>();
    const counts = { passed: 0, failed: unhandled.length, skipped: 0 };
    for (const module of modules) {
      counts.failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        counts[state === "passed" || state === "failed" ? state : "skipped"] += 1;
        if (state !== "skipped") continue;
        const suite = test.parent.type === "suite" ? ` > ${test.parent.fullName}` : ` > ${test.name}`;
        const place = `${module.relativeModuleId}${suite}`;
        skipped.set(place, (skipped.get(place) ?? 0) + 1);
      }
    }
    const line = `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;
    // Printed when everything else has been, the default reporter's summary included.
    process.once("exit", () => {
      // a run of tests by their names skips all the others
      const names = [...skipped].slice(0, 100).map(([place, count]) => `skipped: ${place} (${count})\n`);
      process.stdout.write(`${names.join("")}${line}\n`);
    });
  }
}
