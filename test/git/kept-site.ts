/** Owns: a workspace with dependencies, and the requests that move them. */
import { chmodSync, lstatSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fingerprintOf } from "../../src/domain/dependencies.js";
import type { GitEngineOptions } from "../../src/git/engine.js";
import type { KeepDependenciesRequest, PlaceDependenciesRequest } from "../../src/ports/dependency-files.js";
import { UpstreamRepository, writeFile } from "../support/repositories.js";
import { Bench, Site } from "./support.js";

export const platform = { os: "linux", arch: "x64", libc: "glibc" };
const patterns = ["auto"];

export class KeptBench {
  readonly bench: Bench;
  readonly upstream: UpstreamRepository;
  readonly store: string;
  mirror = "";
  #made = 0;

  constructor(options: Partial<GitEngineOptions> = {}) {
    this.bench = new Bench(options);
    // a second user goes through it, and no further
    chmodSync(this.bench.directory.path, 0o711);
    for (const name of ["mirrors", "indexes", "trash"]) mkdirSync(this.bench.at(name), { mode: 0o700 });
    this.upstream = new UpstreamRepository(this.bench.at("upstream"));
    this.store = this.bench.at("dependencies", "demo");
  }

  async start(more: Readonly<Record<string, string>> = {}): Promise<this> {
    this.upstream.commit("base", {
      ".gitignore": "node_modules\n.venv/\n",
      "package.json": '{\n  "name": "demo"\n}\n',
      "tools/requirements.txt": "a==1\n",
      ...more,
    });
    this.mirror = await this.bench.mirror(this.upstream.path, "mirrors/m");
    return this;
  }

  close(): Promise<void> {
    return this.bench.close();
  }

  async workspace(): Promise<KeptWorkspace> {
    const site = new Site(this.bench, this.mirror, this.upstream.path, `w${++this.#made}`);
    const { commit } = await site.prepare();
    const manifests = await this.bench.engine.selectManifests({ mirror: this.mirror, commit, patterns });
    return new KeptWorkspace(this, site.path, commit, manifests, `w${this.#made}.1`);
  }
}

export class KeptWorkspace {
  readonly path: string;
  readonly leaseId: string;
  readonly fingerprint: string;
  readonly #bench: KeptBench;
  readonly #commit: string;
  readonly #manifests: PlaceDependenciesRequest["manifests"];

  constructor(
    bench: KeptBench,
    path: string,
    commit: string,
    manifests: PlaceDependenciesRequest["manifests"],
    leaseId: string,
  ) {
    this.#bench = bench;
    this.path = path;
    this.#commit = commit;
    this.#manifests = manifests;
    this.leaseId = leaseId;
    this.fingerprint = fingerprintOf(manifests, platform, {});
  }

  write(files: Readonly<Record<string, string>>): void {
    for (const [name, content] of Object.entries(files)) writeFile(join(this.path, name), content);
  }

  keepRequest(keepPaths: readonly string[]): KeepDependenciesRequest {
    return {
      ...this.#owner(keepPaths),
      ...{ patterns, platform, environment: {}, candidates: [`${this.path}.gone`, this.path] },
      ...{ repository: "demo", host: "here", workspaceId: this.leaseId.replace(/\..*/, "") },
    };
  }

  placeRequest(keepPaths: readonly string[]): PlaceDependenciesRequest {
    return { ...this.#owner(keepPaths), manifests: this.#manifests, path: this.path, cachesInUse: [] };
  }

  keep(keepPaths: readonly string[]) {
    return this.#bench.bench.engine.keepDependencies(this.keepRequest(keepPaths));
  }

  place(keepPaths: readonly string[]) {
    return this.#bench.bench.engine.placeDependencies(this.placeRequest(keepPaths));
  }

  #owner(keepPaths: readonly string[]) {
    const { store, bench, mirror } = this.#bench;
    const origin = "https://git.example.com/demo.git";
    const { fingerprint, leaseId } = this;
    const whose = { origin, caller: "", shared: false, keepPaths, fingerprint, leaseId };
    return { store, trash: bench.trash, mirror, commit: this.#commit, ...whose };
  }
}

/** Where below a directory a file is, by its inode. */
export function placesOf(root: string, ino: number): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true, encoding: "utf8" })
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => lstatSync(path).ino === ino);
}
