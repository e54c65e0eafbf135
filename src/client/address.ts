/** Owns what an address of a server looks like, and where it is taken from when none is given. */

/** Where a server listens unless it is told otherwise. */
export const defaultAddress = "http://127.0.0.1:7420";

export interface Address {
  /** As it is shown to people. */
  readonly text: string;
  /** What requests are made to; for a unix socket a name that stands for it. */
  readonly baseUrl: string;
  /** Path of the unix socket, if it is one. */
  readonly socketPath: string | undefined;
}

/**
 * `http://HOST:PORT`, `https://HOST:PORT`, `HOST:PORT` (which means http) or `unix:/path`.
 * Without one: `LEASEHOLD_ADDRESS`, and without that the default.
 */
export function resolveAddress(given: string | undefined): Address {
  const text = given || process.env.LEASEHOLD_ADDRESS || defaultAddress;
  if (text.startsWith("unix:")) {
    const socketPath = text.slice("unix:".length).replace(/^\/\/(?=\/)/, "");
    if (!socketPath.startsWith("/")) {
      throw new TypeError(`address ${JSON.stringify(text)}: a unix socket needs an absolute path`);
    }
    return { text: `unix:${socketPath}`, baseUrl: "http://localhost", socketPath };
  }
  const url = URL.canParse(withScheme(text)) ? new URL(withScheme(text)) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:") || url.hostname === "") {
    throw new TypeError(`address ${JSON.stringify(text)}: expected http://HOST:PORT, https://HOST:PORT or unix:/path`);
  }
  if (url.username !== "" || url.password !== "") {
    throw new TypeError(
      "address: holds a user or a password; the server's token goes into `token`, never into the URL",
    );
  }
  const baseUrl = url.href.replace(/\/+$/, "");
  return { text: baseUrl, baseUrl, socketPath: undefined };
}

function withScheme(text: string): string {
  return text.includes("://") ? text : `http://${text}`;
}
