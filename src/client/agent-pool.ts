/**
 * Owns the agents of a process: one backend for each agent of each session, made when it is first asked for.
 *
 * Invariants:
 * 1. However many ask at once, one backend is made. A creation that failed is forgotten, and the next call tries again.
 * 2. A backend that has ended is disposed of and replaced by the next call.
 * 3. `dispose` ends within its limit, whatever backends do, and says which did not follow. One whose creation ends
 *    later is disposed of then.
 */
import type { AgentBackend, BackendHealth } from "./agent-backend.js";

export interface AgentKey {
  readonly sessionId: string;
  readonly agent: string;
}

export interface AgentPoolOptions<K extends AgentKey> {
  /** Makes the backend of an agent; given what `get` was called with. */
  readonly create: (key: K) => Promise<AgentBackend>;
  /** How long disposing of one backend may take, in milliseconds; 15,000 unless given. */
  readonly disposeMs?: number;
}

export interface PoolHealth {
  /** Every backend is alive, and the pool takes calls. */
  readonly healthy: boolean;
  readonly disposed: boolean;
  /** Backends that are being made. */
  readonly starting: readonly AgentKey[];
  /** In the order of session and agent. */
  readonly backends: readonly BackendHealth[];
}

export interface DisposeFailure extends AgentKey {
  /** It did not end in time; otherwise it threw. */
  readonly timedOut: boolean;
  readonly error: unknown;
}

export interface DisposeReport {
  readonly disposed: readonly AgentKey[];
  readonly failed: readonly DisposeFailure[];
}

interface Entry {
  readonly key: AgentKey;
  readonly made: Promise<AgentBackend>;
  backend: AgentBackend | undefined;
}

/** Of one backend; `failure` resolves to undefined once it has ended. */
interface Ending {
  readonly key: AgentKey;
  readonly failure: Promise<DisposeFailure | undefined>;
}

export class AgentPool<K extends AgentKey = AgentKey> implements AsyncDisposable {
  readonly #create: (key: K) => Promise<AgentBackend>;
  readonly #disposeMs: number;
  readonly #entries = new Map<string, Entry>();
  /** What is being removed: the next backend of an agent is made when the one before it has ended, or had its time. */
  readonly #removed = new Map<string, Ending>();
  #disposing: Promise<DisposeReport> | undefined;

  constructor(options: AgentPoolOptions<K>) {
    this.#create = options.create;
    this.#disposeMs = options.disposeMs ?? 15_000;
  }

  /** The agent's backend, made if there is none that is alive. */
  get(key: K): Promise<AgentBackend> {
    if (this.#disposing !== undefined) return Promise.reject(new Error("the pool of agents was disposed of"));
    const name = nameOf(key);
    const known = this.#entries.get(name);
    if (known !== undefined && isUsable(known)) return known.made;
    const entry: Entry = { key: plain(key), made: this.#make(key, known?.backend), backend: undefined };
    this.#entries.set(name, entry);
    entry.made.then(
      (backend) => {
        entry.backend = backend;
      },
      () => {
        if (this.#entries.get(name) === entry) this.#entries.delete(name);
      },
    );
    return entry.made;
  }

  /** The agent's backend if there is one. */
  peek(key: AgentKey): AgentBackend | undefined {
    return this.#entries.get(nameOf(key))?.backend;
  }

  /** Ends one agent's backend; the next `get` makes another one. Nothing to do is no error. */
  async remove(key: AgentKey): Promise<void> {
    const name = nameOf(key);
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.#entries.delete(name);
    const ending = { key: entry.key, failure: this.#end(entry) };
    this.#removed.set(name, ending);
    const failure = await ending.failure;
    if (this.#removed.get(name) === ending) this.#removed.delete(name);
    if (failure !== undefined) throw failure.error;
  }

  /** For a health endpoint. Never waits, and never throws. */
  health(): PoolHealth {
    const entries = [...this.#entries.values()].sort((a, b) => (nameOf(a.key) < nameOf(b.key) ? -1 : 1));
    const disposed = this.#disposing !== undefined;
    const backends = entries.flatMap(({ backend, key }) => (backend === undefined ? [] : [healthOf(backend, key)]));
    const starting = entries.filter(({ backend }) => backend === undefined).map(({ key }) => key);
    return { healthy: !disposed && backends.every(({ alive }) => alive), disposed, starting, backends };
  }

  /** Ends all backends, at once, and waits for those that are being removed. Never throws: the answer says who did not follow. */
  dispose(): Promise<DisposeReport> {
    this.#disposing ??= (async () => {
      const ended = [...this.#entries.values()].map((entry) => ({ key: entry.key, failure: this.#end(entry) }));
      const endings: readonly Ending[] = [...this.#removed.values(), ...ended];
      const outcomes = await Promise.all(endings.map(({ failure }) => failure));
      this.#entries.clear();
      return {
        disposed: endings.filter((_, index) => outcomes[index] === undefined).map(({ key }) => key),
        failed: outcomes.filter((failure) => failure !== undefined),
      };
    })();
    return this.#disposing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  async #make(key: K, ended: AgentBackend | undefined): Promise<AgentBackend> {
    await this.#removed.get(nameOf(key))?.failure;
    if (ended !== undefined) await within(this.#disposeMs, () => ended.dispose()).catch(() => undefined);
    return await this.#create(key);
  }

  async #end(entry: Entry): Promise<DisposeFailure | undefined> {
    let late = false;
    const ending = async () => {
      const backend = await entry.made.catch(() => undefined);
      await backend?.dispose();
    };
    try {
      await within(this.#disposeMs, ending, () => {
        late = true;
      });
      return undefined;
    } catch (error) {
      return { ...entry.key, timedOut: late, error };
    }
  }
}

function isUsable({ backend }: Entry): boolean {
  return backend === undefined || healthOf(backend, backend).alive;
}

/** A backend that cannot even tell is not alive. */
function healthOf(backend: AgentBackend, key: AgentKey): BackendHealth {
  try {
    return backend.health();
  } catch (error) {
    const unknown = { backend: "", backendSessionId: undefined, turn: 0, heardTime: undefined };
    const problem = error instanceof Error ? error.message : String(error);
    return { ...plain(key), ...unknown, state: "FAILED", alive: false, problem };
  }
}

/** Runs, also what throws at once, and gives up after a while. */
async function within<T>(ms: number, run: () => Promise<T>, onLate = () => {}): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      onLate();
      reject(new Error(`not disposed of within ${ms} ms`));
    }, ms);
  });
  try {
    const running = (async () => run())();
    running.catch(() => undefined);
    return await Promise.race([running, late]);
  } finally {
    clearTimeout(timer);
  }
}

function plain({ sessionId, agent }: AgentKey): AgentKey {
  return { sessionId, agent };
}

function nameOf({ sessionId, agent }: AgentKey): string {
  return JSON.stringify([sessionId, agent]);
}
