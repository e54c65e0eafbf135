import { expect, test } from "vitest";
import type { HintOrigin } from "../../src/ports/wake.js";
import { openStoreFixture } from "../support/store.js";
import { until } from "../support/until.js";

test("a hint reaches this process once and the other servers, and hints of one moment are one", async () => {
  const fixture = await openStoreFixture();
  const here = fixture.store.wake;
  const there = (await fixture.another("other-host")).wake;
  const heard = { here: [] as HintOrigin[], there: [] as HintOrigin[] };
  try {
    await here.start();
    await there.start();
    here.onHint((from) => heard.here.push(from));
    there.onHint((from) => heard.there.push(from));
    here.hint();
    here.hint();
    await until("the other server hears of it", () => heard.there.length > 0);
    // notifications come in their order: when this one is heard here, the first one would have been
    there.hint();
    await until("this one hears of the other", () => heard.here.includes("elsewhere"));
    expect(heard).toEqual({ here: ["here", "elsewhere"], there: ["elsewhere", "here"] });
  } finally {
    await here.stop();
    await there.stop();
    await fixture.close();
  }
});
