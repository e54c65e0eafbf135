/** Owns the form of a listen address: `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`. */

export type ListenAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** Longest path that a unix socket can have on Linux, in bytes. */
const maxSocketPath = 107;

/** The address, or what is wrong with its text. */
export function parseListenAddress(text: string): ListenAddress | string {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length).replace(/^\/\/(?=\/)/, "");
    if (path === "" || path.includes("\0")) return `${JSON.stringify(text)} has no path`;
    if (Buffer.byteLength(path) > maxSocketPath)
      return `${JSON.stringify(text)} has a path of more than ${maxSocketPath} bytes`;
    return { kind: "unix", path };
  }
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^[\]:/\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) return `${JSON.stringify(text)} is neither HOST:PORT nor unix:/path`;
  return { kind: "tcp", host: (match[1] ?? match[2]) as string, port };
}
