/** Owns: the runner of examples/agents as a real process, for tests that kill it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { cleanEnvironment } from "./environment.js";
import { until } from "./until.js";

// biome-ignore lint/suspicious/noExplicitAny: lines of several kinds, each looked at by the test that asked for it
type Line = Record<string, any>;

export class AgentRunner {
  readonly lines: Line[] = [];
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #complaint = "";

  constructor(args: readonly string[], environment: Readonly<Record<string, string>>) {
    this.#child = spawn(process.execPath, [resolve("examples/agents/drive.mjs"), ...args], {
      env: cleanEnvironment(environment),
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#closed = once(this.#child, "close");
    if (this.#child.stdout === null) throw new Error("no output");
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.lines.push(JSON.parse(line)));
    this.#child.stderr?.on("data", (text: Buffer) => {
      this.#complaint += text;
    });
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The first line from `from` on that holds what `what` holds. */
  async when(what: Line, from = 0): Promise<Line> {
    return await until(
      `the runner tells ${JSON.stringify(what)}`,
      () => {
        const found = this.lines
          .slice(from)
          .find((line) => Object.entries(what).every(([key, value]) => line[key] === value));
        if (found === undefined && !this.running) throw new Error(`the runner ended: ${this.#complaint}`);
        return found;
      },
      60_000,
    );
  }

  /** Gives an agent a turn, and resolves when its changes are recorded. */
  async turn(agent: string, text: string): Promise<Line> {
    const from = this.lines.length;
    this.send(agent, text);
    return await this.when({ type: "recorded", agent }, from);
  }

  send(agent: string, text: string): void {
    this.#child.stdin?.write(`${agent}: ${text}\n`);
  }

  async kill9(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#closed;
  }

  /** Lets it end in order; answers its status. */
  async end(): Promise<number | null> {
    this.#child.stdin?.end();
    await this.#closed;
    return this.#child.exitCode;
  }
}
