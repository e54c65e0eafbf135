/** Implements the port `Forges` over the HTTP APIs of Forgejo, Gitea, GitHub and GitLab. */
import type { Forge, ForgeKind, Subject } from "../domain/subject.js";
import type { Forges, SubjectAnswer } from "../ports/forges.js";
import { type Clock, realClock } from "./clock.js";
import { defaultLimits, ForgeClient, type RequestLimits, unknown } from "./forge-client.js";
import { gitea } from "./gitea.js";
import { github } from "./github.js";
import { gitlab } from "./gitlab.js";
import type { ForgeReader } from "./reader.js";
import { SecretFile } from "./secret.js";

/** One entry of the configuration's `forges`. */
export interface ForgeEntry extends Forge {
  readonly apiUrl: string;
  readonly tokenFile?: string | undefined;
  readonly webhookSecretFile?: string | undefined;
}

export interface HttpForgesOptions {
  /** Over the defaults. */
  readonly limits?: Partial<RequestLimits>;
  readonly clock?: Clock;
}

const readers: Readonly<Record<ForgeKind, ForgeReader>> = { forgejo: gitea, gitea, github, gitlab };

export class HttpForges implements Forges {
  readonly configured: readonly Forge[];
  readonly #clients: ReadonlyMap<string, ForgeClient>;

  constructor(entries: readonly ForgeEntry[], { limits = {}, clock = realClock }: HttpForgesOptions = {}) {
    this.configured = entries.map(({ name, kind, url }) => ({ name, kind, url }));
    this.#clients = new Map(
      entries.map(({ name, kind, apiUrl, tokenFile }) => {
        const token = tokenFile === undefined ? undefined : new SecretFile(tokenFile);
        return [name, new ForgeClient(readers[kind], { apiUrl, token }, { ...defaultLimits, ...limits }, clock)];
      }),
    );
  }

  async state(subject: Subject, signal?: AbortSignal): Promise<SubjectAnswer> {
    const client = this.#clients.get(subject.forge);
    if (!client) return unknown(`no forge ${subject.forge} is configured`, false);
    return client.state(subject, signal);
  }
}
