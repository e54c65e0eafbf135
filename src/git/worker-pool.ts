/**
 * Owns a pool of worker processes for one lane of work: who runs, who waits, when a worker ends.
 *
 * Invariants:
 * 1. A call ends by its deadline, counted from when it was made: by SIGKILL of its worker if need be.
 * 2. A worker's death fails its own call only; calls that no worker had begun are given to another one.
 * 3. After `close` no worker lives.
 * 4. Calls are begun in the order they were made.
 */
import type { MirrorProgress } from "../domain/repository.js";
import type { AnswerOf, Fault, JobOf, OperationName } from "./protocol.js";
import { WorkerProcess } from "./worker-process.js";

export interface PoolOptions {
  readonly entry: string;
  /** `UID:GID` of the holder's user in the two-uid layout. */
  readonly holder?: string | undefined;
  readonly size: number;
  /** Idle workers beyond this many are ended after `idleMs`. */
  readonly keep: number;
  readonly idleMs?: number;
  /** A worker is replaced after this many calls. */
  readonly maxCalls?: number;
  /** A worker is replaced when its resident memory has grown beyond this many bytes. */
  readonly maxRss?: number;
  readonly log: (fields: object, message: string) => void;
}

export interface CallOptions {
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: MirrorProgress) => void;
}

/** How a call failed. `failed` carries what the worker said. */
export class CallError extends Error {
  override readonly name = "CallError";
  readonly kind: "timeout" | "died" | "aborted" | "closed" | "failed";
  readonly fault: Fault | undefined;

  constructor(kind: CallError["kind"], message: string, fault?: Fault) {
    super(message);
    this.kind = kind;
    this.fault = fault;
  }
}

interface Waiting {
  readonly operation: OperationName;
  readonly job: unknown;
  readonly progress: (progress: MirrorProgress) => void;
  readonly settle: (error: CallError | undefined, answer?: unknown) => void;
  worker: WorkerProcess | undefined;
  attempts: number;
}

/** How often a call is given to a worker that dies before it begins. */
const maxAttempts = 3;

export class WorkerPool {
  private readonly workers = new Set<WorkerProcess>();
  private readonly worn = new WeakSet<WorkerProcess>();
  private readonly idleTimers = new Map<WorkerProcess, NodeJS.Timeout>();
  private readonly waiting: Waiting[] = [];
  private readonly running = new Set<Waiting>();
  private readonly options: Required<Omit<PoolOptions, "holder">> & Pick<PoolOptions, "holder">;
  private closed = false;

  constructor(options: PoolOptions) {
    this.options = { idleMs: 60_000, maxCalls: 200, maxRss: 400 * 1024 * 1024, ...options };
  }

  /** Process ids of the living workers, the busy ones first. */
  get pids(): readonly number[] {
    const sorted = [...this.workers].sort((a, b) => Number(b.busy) - Number(a.busy));
    return sorted.flatMap((worker) => worker.pid ?? []);
  }

  call<Name extends OperationName>(operation: Name, job: JobOf<Name>, options: CallOptions): Promise<AnswerOf<Name>> {
    return new Promise((resolve, reject) => {
      if (this.closed) return reject(new CallError("closed", "the engine is closed"));
      if (options.signal?.aborted) return reject(new CallError("aborted", "aborted before it began"));
      const fail = (kind: "timeout" | "aborted", message: string): void => {
        const worker = waiting.worker;
        waiting.settle(new CallError(kind, message));
        if (worker) this.stop(worker);
      };
      const timer = setTimeout(() => fail("timeout", `${operation} passed its deadline`), options.deadlineMs);
      const onAbort = (): void => fail("aborted", `${operation} was aborted`);
      const waiting: Waiting = {
        operation,
        job,
        worker: undefined,
        attempts: 0,
        progress: (progress) => options.onProgress?.(progress),
        settle: (error, answer) => {
          clearTimeout(timer);
          options.signal?.removeEventListener("abort", onAbort);
          this.forget(waiting);
          if (error) reject(error);
          else resolve(answer as AnswerOf<Name>);
        },
      };
      options.signal?.addEventListener("abort", onAbort, { once: true });
      this.waiting.push(waiting);
      this.dispatch();
    });
  }

  /** Replaces every worker, the busy ones when their call has ended: what they have cached is no longer true. */
  recycle(): void {
    for (const worker of this.workers) {
      if (worker.busy) this.worn.add(worker);
      else this.stop(worker);
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const waiting of [...this.waiting, ...this.running]) {
      waiting.settle(new CallError("closed", "the engine was closed"));
    }
    for (const worker of this.workers) this.stop(worker);
    await Promise.all([...this.workers].map((worker) => worker.exited));
  }

  private forget(waiting: Waiting): void {
    const index = this.waiting.indexOf(waiting);
    if (index >= 0) this.waiting.splice(index, 1);
    this.running.delete(waiting);
  }

  private dispatch(): void {
    while (this.waiting.length > 0 && !this.closed) {
      let worker: WorkerProcess | undefined;
      try {
        worker = this.freeWorker();
      } catch (error) {
        // No room for its HOME, or no more files for this process: the host's fault, and the next call tries again.
        const { message, code } = error as NodeJS.ErrnoException;
        const fault: Fault = { kind: "host-io", message, ...(code !== undefined && { code }) };
        this.waiting[0]?.settle(new CallError("failed", message, fault));
        continue;
      }
      if (!worker) return;
      const next = this.waiting.shift() as Waiting;
      try {
        this.begin(worker, next);
      } catch (error) {
        // what cannot be sent is the caller's, and the worker has not heard of it
        const { message } = error as Error;
        next.settle(new CallError("failed", message, { message }));
      }
    }
  }

  private freeWorker(): WorkerProcess | undefined {
    for (const worker of this.workers) {
      if (!worker.busy && worker.alive && !this.worn.has(worker)) return worker;
    }
    return this.workers.size < this.options.size ? this.startWorker() : undefined;
  }

  private startWorker(): WorkerProcess {
    const worker = new WorkerProcess(this.options.entry, this.options.holder);
    this.workers.add(worker);
    void worker.exited.then(() => {
      clearTimeout(this.idleTimers.get(worker));
      this.idleTimers.delete(worker);
      this.workers.delete(worker);
      this.dispatch();
    });
    return worker;
  }

  private begin(worker: WorkerProcess, waiting: Waiting): void {
    clearTimeout(this.idleTimers.get(worker));
    waiting.worker = worker;
    waiting.attempts += 1;
    this.running.add(waiting);
    worker.call(
      { operation: waiting.operation, job: waiting.job },
      {
        progress: waiting.progress,
        done: (answer) => {
          waiting.settle(undefined, answer);
          this.rest(worker);
        },
        failed: (fault) => {
          waiting.settle(new CallError("failed", fault.message, fault));
          this.rest(worker);
        },
        died: (detail, started) => this.lose(waiting, detail, started),
      },
    );
  }

  /** Invariant 2. A call that was settled already, by its deadline for instance, is not heard of again. */
  private lose(waiting: Waiting, detail: string, started: boolean): void {
    if (!this.running.has(waiting)) return;
    this.options.log({ operation: waiting.operation, detail, started }, "a git worker died");
    waiting.worker = undefined;
    if (started || waiting.attempts >= maxAttempts) {
      return waiting.settle(new CallError("died", `the worker of ${waiting.operation} died: ${detail}`));
    }
    this.running.delete(waiting);
    this.waiting.unshift(waiting);
  }

  private rest(worker: WorkerProcess): void {
    const { maxCalls, maxRss, keep, idleMs } = this.options;
    if (worker.calls >= maxCalls || worker.rss > maxRss) this.worn.add(worker);
    if (this.worn.has(worker)) this.stop(worker);
    else if (this.workers.size > keep)
      this.idleTimers.set(worker, setTimeout(() => this.endIdle(worker), idleMs).unref());
    this.dispatch();
  }

  private endIdle(worker: WorkerProcess): void {
    if (!worker.busy && this.workers.size > this.options.keep) this.stop(worker);
  }

  /** Ends a worker; it gets no call any more while it dies. */
  private stop(worker: WorkerProcess): void {
    this.worn.add(worker);
    worker.kill();
  }
}
