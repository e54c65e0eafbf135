/**
 * Owns `leasehold serve`: the server in the foreground, from its configuration to its exit status.
 *
 * Invariants:
 * 1. Standard output has one line for each address, once it is served, and nothing else.
 * 2. The first SIGTERM or SIGINT drains and ends with 0; a second one ends at once.
 * 3. A start that fails is one clear message on standard error.
 */
import type { Command } from "commander";
import type { App } from "../app.js";
import { CommandError, exitCodes } from "./exit-codes.js";

const signals = { SIGINT: 130, SIGTERM: 143 } as const;

/** The flags come from the table of settings, which is loaded only if `serve` is what is asked for. */
export async function addServe(program: Command, argv: readonly string[]): Promise<void> {
  const serve = program
    .command("serve")
    .description("serve in the foreground, on the embedded Postgres unless told otherwise");
  if (argv.includes("serve")) {
    const { configFlags } = await import("../config/config.js");
    const collect = (value: string, before: string[] = []) => [...before, value];
    for (const { name, alias, placeholder, repeats, help } of configFlags) {
      const value = placeholder ? ` <${placeholder}>` : "";
      const named: [string, string][] = [[name, help]];
      if (alias) named.push([alias, `the same as --${name}`]);
      for (const [flag, text] of named) {
        if (repeats) serve.option(`--${flag}${value}`, text, collect);
        else serve.option(`--${flag}${value}`, text);
      }
    }
  }
  serve.action((flags: Record<string, unknown>) => run(flags));
}

async function run(flags: Record<string, unknown>): Promise<void> {
  const [{ ConfigError, loadConfig }, { createLog }, { startApp }] = await Promise.all([
    import("../config/config.js"),
    import("../log.js"),
    import("../app.js"),
  ]);
  let app: App;
  const stopped = awaitSignal();
  try {
    const config = loadConfig({ flags, env: process.env, cwd: process.cwd() });
    const log = createLog({ level: config.logLevel, format: config.logFormat });
    process.on("unhandledRejection", (error) =>
      log.error({ err: error }, "a promise was rejected and nobody listened"),
    );
    app = await startApp(config, log);
  } catch (error) {
    const exitCode = error instanceof ConfigError ? exitCodes.usage : exitCodes.internal;
    throw new CommandError(error instanceof Error ? error.message : String(error), exitCode);
  }
  for (const address of app.addresses) process.stdout.write(`leasehold listening on ${address}\n`);
  await stopped;
  await app.stop();
}

/** Resolves at the first signal; the second one ends the process. */
function awaitSignal(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    for (const [signal, exitCode] of Object.entries(signals)) {
      process.on(signal, () => {
        if (asked) process.exit(exitCode);
        asked = true;
        resolve();
      });
    }
  });
}
