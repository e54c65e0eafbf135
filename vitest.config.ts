import { configDefaults, defineConfig } from "vitest/config";

/** The tests start processes of their own, so two files at once fill two cores. */
const filesAtOnce = 2;

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: [...configDefaults.exclude, ...(process.env.LEASEHOLD_SOAK ? [] : ["test/soak/**"])],
    pool: "forks",
    maxWorkers: filesAtOnce,
    globalSetup: ["test/global-setup.ts"],
    // A hung condition must end the run, not the patience: real processes on slow machines still fit.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
    reporters: ["default", "./test/support/totals-reporter.ts"],
  },
});
