/** The port to hosts and their owners. Contract as in lease-store.ts. */
import type { Host } from "../domain/host.js";

/** A caller's key for a workspace; `key` empty: none. */
export interface BindingOf {
  readonly caller: string;
  readonly key: string;
}

export interface HostStore {
  list(after: string, limit: number): Promise<readonly Host[]>;
  byName(name: string): Promise<{ readonly id: number; readonly name: string; readonly owned: boolean } | undefined>;
  /** Any owned host, best one first for the repository and the binding; undefined if none is owned. */
  choose(repositoryId: number, binding: BindingOf): Promise<{ readonly id: number; readonly name: string } | undefined>;
  remove(
    name: string,
    force: boolean,
  ): Promise<{ readonly kind: "removed" | "unknown" | "owned" } | { readonly kind: "in-use"; readonly leases: number }>;
}

/** This process's claim to its host's directories. */
export interface HostOwnership {
  /** Its id is another one after the host was removed: the process goes on as a new host of that name. */
  readonly host: { readonly id: number; readonly name: string };
  /** Whether this process owns the host now. */
  readonly owner: boolean;
  /** Aborts when ownership is lost; a fresh one after it is gained again. */
  readonly signal: AbortSignal;
  /** Calls back at every gain and loss. Answers how to stop that. */
  onChange(listener: (owner: boolean) => void): () => void;
}
