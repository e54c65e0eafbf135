/** Owns what of this host a fingerprint of dependencies depends on. */
import type { Platform } from "../domain/dependencies.js";

let known: Platform | undefined;

/** Families, not versions: hosts of one platform give equal fingerprints. */
export function hostPlatform(): Platform {
  known ??= { os: process.platform, arch: process.arch, libc: libc() };
  return known;
}

function libc(): string {
  if (process.platform !== "linux") return "";
  const report: NodeJS.ProcessReport & { excludeNetwork?: boolean } = process.report;
  // otherwise names of peers are looked up
  report.excludeNetwork = true;
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return header?.glibcVersionRuntime ? "glibc" : "musl";
}
