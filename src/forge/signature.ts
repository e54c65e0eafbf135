/**
 * Owns whether a message was signed with a forge's secret.
 *
 * Invariants:
 * 1. The signature is over the bytes as they came, before anything is read from them.
 * 2. Comparing takes equally long whatever differs; of a token that is compared itself, digests are compared.
 * 3. The first header that is there decides: a right one behind a wrong one does not help.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { ForgeKind } from "../domain/subject.js";
import type { HeaderReader } from "../ports/webhooks.js";

/** Where each kind puts its HMAC-SHA256, in hexadecimal digits; GitLab sends the secret itself. */
const signatureHeaders: Readonly<Record<Exclude<ForgeKind, "gitlab">, readonly string[]>> = {
  forgejo: ["x-forgejo-signature", "x-gitea-signature", "x-hub-signature-256"],
  gitea: ["x-gitea-signature", "x-hub-signature-256"],
  github: ["x-hub-signature-256"],
};

export function isSigned(kind: ForgeKind, header: HeaderReader, body: Uint8Array, secret: string): boolean {
  if (kind === "gitlab") {
    const token = header("x-gitlab-token");
    return token !== undefined && timingSafeEqual(sha256(token), sha256(secret));
  }
  const name = signatureHeaders[kind].find((one) => header(one) !== undefined);
  if (name === undefined) return false;
  const form = name === "x-hub-signature-256" ? /^sha256=([0-9a-f]{64})$/i : /^([0-9a-f]{64})$/i;
  const digits = form.exec(header(name) ?? "")?.[1];
  if (digits === undefined) return false;
  return timingSafeEqual(Buffer.from(digits, "hex"), createHmac("sha256", secret).update(body).digest());
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
