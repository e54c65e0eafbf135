/** The port to the server's configured credentials for upstreams. */
import type { UpstreamCredential } from "./git-engine.js";

export interface Credentials {
  /**
   * The credential for a URL: the one named `name`, else the one with the longest prefix that fits, else none.
   * A named one is used for its own prefix only. Read anew each time; fails with UPSTREAM_DENIED if its file or program fails.
   */
  forUrl(url: string, name: string): Promise<UpstreamCredential | undefined>;
  /** Whether a credential of that name is configured. */
  has(name: string): boolean;
}
