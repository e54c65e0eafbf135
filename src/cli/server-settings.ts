/**
 * Owns the options of the server that the commands of operators take as well, because the tool that they replace
 * had them there: they are taken, and a word on standard error says that the server's own settings hold.
 */
import type { Command } from "commander";
import { notice } from "./output.js";

const settings = ["--database-url", "--bare-path", "--worktree-root"] as const;

export function withServerSettings(command: Command): Command {
  for (const setting of settings) {
    command.option(`${setting} <value>`, "belongs to `serve`; taken and ignored here: the server knows its own");
  }
  return command.hook("preAction", (_, called) => {
    const options = called.opts<{ databaseUrl?: string; barePath?: string; worktreeRoot?: string }>();
    const values = [options.databaseUrl, options.barePath, options.worktreeRoot];
    const given = settings.filter((_, index) => values[index] !== undefined);
    if (given.length > 0) notice(`${given.join(", ")} ignored: this asks the server, which has settings of its own`);
  });
}
