/**
 * Owns the form of the credentials that the server uses towards upstreams.
 *
 * Invariants:
 * 1. A secret is never in the configuration itself, only where to read it.
 * 2. A prefix is in the normal form that the URLs of upstreams have, so that it fits them however it was written.
 */
import { z } from "zod";
import { normalPrefix } from "../domain/upstream-url.js";

/** One credential. Exactly one of `passwordFile`, `keyFile` and `askpass` is set. */
export interface CredentialConfig {
  readonly name: string;
  /** Upstreams whose URL begins so; empty: only those that name this credential. */
  readonly urlPrefix: string;
  /** Empty: what the URL or the kind of upstream suggests. */
  readonly username: string;
  /** File whose first line is the password. */
  readonly passwordFile?: string;
  /** Private key for ssh. */
  readonly keyFile?: string;
  /** Host keys that are trusted for ssh. */
  readonly knownHostsFile?: string;
  /** Program that prints the password, called like git's askpass. */
  readonly askpass?: string;
}

const file = z.string().min(1);

const credential = z
  .strictObject({
    name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, "must be [a-z0-9][a-z0-9._-]{0,62}"),
    url_prefix: z
      .string()
      .regex(/^(https?|ssh):\/\/|^[^/\s]+@[^/\s]+:/i, "must begin with https://, http://, ssh:// or user@host:")
      .refine((text) => !/^https?:\/\/[^/]*@/i.test(text), "must have no user or password")
      .refine((text) => normalPrefix(text) !== undefined, "must be what URLs of upstreams begin with")
      .optional(),
    username: z.string().min(1).optional(),
    password_file: file.optional(),
    key_file: file.optional(),
    known_hosts_file: file.optional(),
    askpass: file.optional(),
  })
  .refine(({ password_file, key_file, askpass }) => [password_file, key_file, askpass].filter(Boolean).length === 1, {
    error: "must have exactly one of password_file, key_file and askpass",
  });

export const credentials = z
  .array(credential)
  .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, { error: "names must differ" })
  .transform((list): readonly CredentialConfig[] =>
    list.map(({ name, url_prefix, username, password_file, key_file, known_hosts_file, askpass }) => ({
      name,
      urlPrefix: (url_prefix && normalPrefix(url_prefix)) ?? "",
      username: username ?? "",
      ...(password_file && { passwordFile: password_file }),
      ...(key_file && { keyFile: key_file }),
      ...(known_hosts_file && { knownHostsFile: known_hosts_file }),
      ...(askpass && { askpass }),
    })),
  );
