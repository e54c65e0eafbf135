/**
 * Owns `leasehold token create`: makes a bearer token and the entry by which the server knows it.
 *
 * Invariants:
 * 1. The token itself is printed once and written nowhere; the entry holds its SHA-256 only.
 */
import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  existsSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from "node:fs";
import { type Command, Option } from "commander";
import { CommandError, exitCodes } from "./exit-codes.js";
import { notice, print } from "./output.js";

interface TokenFlags {
  readonly caller: string;
  readonly role: "runner" | "admin";
  readonly file?: string;
}

export function addToken(program: Command): void {
  const group = program.command("token").description("make bearer tokens for callers");
  group
    .command("create")
    .description("print a new token on standard output, and its entry for the server's tokens file on standard error")
    .requiredOption("--caller <name>", "who gets it; leases are held under this name")
    .addOption(new Option("--role <role>", "what it allows").choices(["runner", "admin"]).default("runner"))
    .option("--file <path>", "add the entry to this tokens file instead of printing it")
    .action(async ({ caller, role, file }: TokenFlags) => {
      if (!/^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$/.test(caller)) {
        const form = "letters, digits, `.`, `_`, `@` and `-`, at most 128, and begins with a letter or digit";
        throw new CommandError(`--caller: a name is made of ${form}`, exitCodes.usage);
      }
      const token = randomBytes(32).toString("base64url");
      const entry = { caller, role, sha256: createHash("sha256").update(token).digest("hex") };
      const { parseDocument, stringify } = await import("yaml");
      if (file === undefined) {
        process.stderr.write(stringify([entry]));
      } else {
        const document = parseDocument(readEntries(file));
        if (document.errors.length > 0 || !Array.isArray(document.toJS() ?? [])) {
          throw new CommandError(`--file: ${file} is not a YAML list of entries`, exitCodes.usage);
        }
        if (document.toJS() === null) {
          writeEntries(file, stringify([entry]));
        } else {
          document.add(document.createNode(entry));
          writeEntries(file, document.toString());
        }
        notice(`added an entry for ${caller} (${role}) to ${file}`);
      }
      print(token);
    });
}

function readEntries(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw new CommandError(`--file: cannot read ${file}: ${(error as Error).message}`, exitCodes.usage);
  }
}

/**
 * The server reads the file again whenever it changes, so it must never see half of it, and must still be allowed to
 * read it: a file that is there keeps its owner and its mode. A new one is the caller's alone.
 */
function writeEntries(named: string, text: string): void {
  let draft: string | undefined;
  try {
    const file = existsSync(named) ? realpathSync(named) : named;
    const before = statSync(file, { throwIfNoEntry: false });
    const path = `${file}.${process.pid}.new`;
    writeFileSync(path, text, { mode: 0o600, flag: "wx" });
    draft = path;
    if (before !== undefined) keepOwner(draft, before);
    chmodSync(draft, before === undefined ? 0o600 : before.mode & 0o7777);
    renameSync(draft, file);
  } catch (error) {
    if (draft !== undefined) rmSync(draft, { force: true });
    throw new CommandError(`--file: cannot write ${named}: ${(error as Error).message}`, exitCodes.usage);
  }
}

function keepOwner(draft: string, { uid, gid }: Stats): void {
  const made = statSync(draft);
  if (made.uid === uid && made.gid === gid) return;
  try {
    chownSync(draft, uid, gid);
  } catch {
    throw new Error(`it belongs to ${uid}:${gid}, and this user may not make a file that does`);
  }
}
