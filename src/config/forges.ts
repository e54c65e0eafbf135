/**
 * Owns the form of the forges that subjects are on.
 *
 * Invariant: a secret is never in the configuration itself, only where to read it.
 */
import { z } from "zod";
import { type Forge, forgeKinds } from "../domain/subject.js";

const url = z
  .string()
  .regex(/^https?:\/\/[^/@\s]+(\/[^\s?#]*)?$/, "must be http(s)://HOST, without a user")
  .transform((text) => text.replace(/\/+$/, ""));

const forge = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, "must be [a-z0-9][a-z0-9._-]{0,62}"),
  kind: z.enum(forgeKinds),
  url,
});

export const forges = z
  .array(forge)
  .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, { error: "names must differ" })
  .refine((list) => new Set(list.map((one) => one.url)).size === list.length, { error: "URLs must differ" })
  .transform((list): readonly Forge[] => list);
