/**
 * Owns the form of the forges that subjects are on.
 *
 * Invariants:
 * 1. A secret is never in the configuration itself, only where to read it.
 * 2. No two forges have one URL, however it is written.
 */
import { z } from "zod";
import { type Forge, forgeKinds } from "../domain/subject.js";

/** A forge, how it is asked, and what its webhooks are signed with. */
export interface ForgeConfig extends Forge {
  /** Base of its API, without a slash at the end. */
  readonly apiUrl: string;
  /** File whose first line is a token that may read issues and pull requests; unset: asked without one. */
  readonly tokenFile?: string;
  /** File whose first line is the secret of its webhooks; unset: it may send none. */
  readonly webhookSecretFile?: string;
}

const url = z
  .string()
  .regex(/^https?:\/\/[^/@?#\s]+(\/[^\s?#]*)?$/, "must be http(s)://HOST, without a user")
  .refine((text) => URL.canParse(text), "must be http(s)://HOST, without a user")
  .transform((text) => new URL(text).href.replace(/\/+$/, ""));

const forge = z
  .strictObject({
    name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, "must be [a-z0-9][a-z0-9._-]{0,62}"),
    kind: z.enum(forgeKinds),
    url,
    api_url: url.optional(),
    token_file: z.string().min(1).optional(),
    webhook_secret_file: z.string().min(1).optional(),
  })
  .transform(
    ({ name, kind, url, api_url, token_file, webhook_secret_file }): ForgeConfig => ({
      name,
      kind,
      url,
      apiUrl: api_url ?? defaultApi(kind, url),
      ...(token_file && { tokenFile: token_file }),
      ...(webhook_secret_file && { webhookSecretFile: webhook_secret_file }),
    }),
  );

export const forges = z
  .array(forge)
  .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, { error: "names must differ" })
  .refine((list) => new Set(list.map((one) => one.url)).size === list.length, { error: "URLs must differ" })
  .transform((list): readonly ForgeConfig[] => list);

function defaultApi(kind: Forge["kind"], url: string): string {
  if (kind === "gitlab") return `${url}/api/v4`;
  if (kind !== "github") return `${url}/api/v1`;
  return new URL(url).host === "github.com" ? "https://api.github.com" : `${url}/api/v3`;
}
