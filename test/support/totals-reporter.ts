/**
 * Owns: the last line of a test run, `N passed, N failed, N skipped`, alone on its line for whoever counts.
 *
 * 1. A file that could not even be loaded counts as one failure.
 */
import type { Reporter, TestModule } from "vitest/node";

export default class TotalsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const counts = { passed: 0, failed: unhandled.length, skipped: 0 };
    for (const module of modules) {
      counts.failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        counts[state === "passed" || state === "failed" ? state : "skipped"] += 1;
      }
    }
    const line = `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;
    // Printed when everything else has been, the default reporter's summary included.
    process.once("exit", () => process.stdout.write(`${line}\n`));
  }
}
