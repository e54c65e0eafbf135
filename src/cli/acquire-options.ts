/** Owns the options that say what to lease; `acquire`, `run` and `salvage restore` share them. */
import { type Command, InvalidArgumentError } from "commander";
import type { AcquireOptions } from "../client/index.js";
import { collectLabel } from "./arguments.js";
import { type DependencyFlags, dependencyOptions, withDependencies } from "./dependency-options.js";
import { parseDuration } from "./duration.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { changingNotice } from "./output.js";

export interface LeaseOptions extends LeaseDetails {
  readonly repository: string;
  readonly restoreSalvage?: string;
}

export interface LeaseDetails extends DependencyFlags {
  readonly revision?: string;
  readonly host?: string;
  readonly holder?: string;
  readonly ttl?: number;
  readonly wait?: number;
  readonly label?: Record<string, string>;
  readonly branch?: string;
  readonly authorName?: string;
  readonly authorEmail?: string;
  readonly maxStaleness?: number;
  readonly requestId?: string;
  readonly binding?: string;
  readonly subject?: string;
}

export function withLease(command: Command): Command {
  const named = command.requiredOption(
    "-r, --repository <name|url>",
    "registered name, or a URL where the server allows it",
  );
  return withLeaseDetails(named).option(
    "--restore-salvage <id>",
    "bring this salvage of the repository back to the workspace",
    nonEmpty,
  );
}

/** All but which repository. */
export function withLeaseDetails(command: Command): Command {
  return withDependencies(command)
    .option("--revision <revision>", "branch, tag, ref or commit (default: the default branch)")
    .option("--holder <text>", "who works there (default: USER@host)")
    .option(
      "--ttl <duration>",
      "how long the lease lives without a heartbeat (default: the server's, 60s)",
      parseDuration,
    )
    .option("--wait <duration>", "how long to wait for a free workspace (default: not at all)", parseDuration)
    .option("--label <key=value>", "a label; may be repeated", collectLabel)
    .option("--branch <name>", "create and check out this local branch")
    .option("--author-name <name>", "user.name in the workspace's git configuration; needs --author-email")
    .option("--author-email <email>", "user.email in the workspace's git configuration; needs --author-name")
    .option("--max-staleness <duration>", "accept a mirror that asked upstream at most this long ago", parseDuration)
    .option("--binding <key>", "a key of yours: what was parked under it comes back as it was left", nonEmpty)
    .option("--subject <url>", "the issue or pull request that it is for, on a forge that the server knows", nonEmpty)
    .option("--request-id <id>", "the same id again gets the same lease (default: a new one)", nonEmpty);
}

/** What the client is asked for. */
export function acquireOptions(options: LeaseOptions, defaultHolder: string): AcquireOptions {
  const again = changingNotice();
  const { authorName, authorEmail } = options;
  if ((authorName === undefined) !== (authorEmail === undefined)) {
    throw new CommandError("--author-name and --author-email belong together", exitCodes.usage);
  }
  const optional = {
    revision: options.revision,
    host: options.host,
    ttlMs: options.ttl,
    waitMs: options.wait,
    labels: options.label,
    branch: options.branch,
    maxStalenessMs: options.maxStaleness,
    requestId: options.requestId,
    binding: options.binding,
    subject: options.subject,
    restoreSalvageId: options.restoreSalvage,
    ...dependencyOptions(options),
    ...(authorName !== undefined && authorEmail !== undefined && { author: { name: authorName, email: authorEmail } }),
  };
  const given = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined));
  return {
    repository: options.repository,
    holder: options.holder ?? defaultHolder,
    // A person at a terminal wants to know at once that nobody answers; a server that restarts is waited for.
    connectMs: 0,
    retryMs: 60_000,
    onRetry: (error) => again(`${error.message}; trying again`),
    ...given,
  };
}

function nonEmpty(text: string): string {
  if (text === "") throw new InvalidArgumentError("It may not be empty.");
  return text;
}
