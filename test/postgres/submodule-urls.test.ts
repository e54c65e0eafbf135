/** Which URLs of submodules are allowed, and with whose credential: by the policy of upstreams and what is registered. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfiguredCredentials } from "../../src/credentials/configured-credentials.js";
import { defaultSettings } from "../../src/domain/repository.js";
import { Registry } from "../../src/service/leases/registry.js";
import { openStoreFixture, type StoreFixture } from "../support/store.js";

let fixture: StoreFixture;

beforeAll(async () => {
  fixture = await openStoreFixture();
  const { repositories } = fixture.store;
  await repositories.register("library", { ...defaultSettings, url: "https://forge/library", credential: "own" });
});
afterAll(() => fixture.close());

const registry = (authentication: boolean, allowLocal = false, allowUrls: readonly string[] = []) =>
  new Registry({
    repositories: fixture.store.repositories,
    credentials: new ConfiguredCredentials([]),
    policy: { authentication, allowLocal, allowUrls },
  });

const notAllowed = { reason: "UPSTREAM_NOT_ALLOWED" };
const remote = "https://forge/top";

describe("G1 a submodule's URL", () => {
  it("is allowed with authentication only where it is registered, or one that runners may use", async () => {
    const strict = registry(true, false, ["https://allowed/*"]);
    await expect(strict.submodule("https://forge/library", remote)).resolves.toEqual({
      url: "https://forge/library",
      credential: "own",
    });
    await expect(strict.submodule("https://allowed/x", remote)).resolves.toEqual({
      url: "https://allowed/x",
      credential: "",
    });
    await expect(strict.submodule("https://forge/other", remote)).rejects.toMatchObject(notAllowed);
    await expect(registry(false).submodule("https://forge/other", remote)).resolves.toMatchObject({ credential: "" });
  });

  it("is a local path only below a local superproject, and with authentication where those are allowed", async () => {
    const secret = "/srv/secret";
    await expect(registry(false).submodule(secret, "/srv/top")).resolves.toMatchObject({ url: secret });
    await expect(registry(false).submodule(secret, remote)).rejects.toMatchObject(notAllowed);
    await expect(registry(false).submodule(`file://${secret}`, remote)).rejects.toMatchObject(notAllowed);
    await expect(registry(true, true, ["*"]).submodule(secret, "/srv/top")).resolves.toMatchObject({ url: secret });
    await expect(registry(true, false, ["*"]).submodule(secret, "/srv/top")).rejects.toMatchObject(notAllowed);
    await expect(registry(true, true).submodule(secret, "/srv/top")).rejects.toMatchObject(notAllowed);
    await expect(registry(true).submodule("/srv/demo.git", remote)).resolves.toMatchObject({ url: "/srv/demo.git" });
  });

  it.each(["ext::sh -c x", "ext::sh", "-u/x", "https://u:p@h/x", "ftp://h/x", "../relative", ""])(
    "is refused as any upstream's would be: %s",
    async (url) => {
      await expect(registry(false).submodule(url, "/srv/top")).rejects.toMatchObject(notAllowed);
    },
  );
});
