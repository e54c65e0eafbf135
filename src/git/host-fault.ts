/** Owns by what a failure is known as this host's: its disk, its limits of files and memory. One list for server and workers. */

const codes = new Set(["ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE", "ENOMEM"]);
/** libgit2 and others tell the system's text only. */
const texts =
  /no space left on device|quota exceeded|read-only file system|input\/output error|too many open files|cannot allocate memory/i;

export function tellsHostFault({
  code,
  message,
}: {
  readonly code?: string | undefined;
  readonly message: string;
}): boolean {
  return codes.has(code ?? "") || texts.test(message);
}
