/** Owns reading a list to its end, page by page. It loads nothing, for the command line. */

interface Page {
  readonly nextPageToken: string;
}

/** All pages; `ask` is given the token of each, which is empty for the first one. */
export async function* allPages<P extends Page>(ask: (pageToken: string) => Promise<P>): AsyncGenerator<P, void> {
  let pageToken = "";
  do {
    const page = await ask(pageToken);
    yield page;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}
