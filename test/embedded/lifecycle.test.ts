import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../src/postgres/embedded/embedded-postgres.js";
import { isRunning } from "../../src/postgres/embedded/process.js";
import { until } from "../support/until.js";
import { ask, killPostgres, makeDataDirectory, makeDirectory, postgresPid, startUser } from "./session.js";

async function start(dataDir: string, messages: string[] = []): Promise<EmbeddedPostgres> {
  const log = (_fields: object, message: string) => void messages.push(message);
  const embedded = await startEmbeddedPostgres({ dataDir, log, fsync: false });
  onTestFinished(() => embedded.stop());
  return embedded;
}

describe("the embedded Postgres (contract 2)", () => {
  it("starts on an empty directory, keeps its rows over a stop, and listens on no network", async () => {
    const dataDir = join(await makeDirectory(), "postgres");
    const first = await start(dataDir);
    await ask(first.connection, (sql) => sql`create table kept as select 42 as answer`);
    const [{ addresses } = {}] = await ask(
      first.connection,
      (sql) => sql`select current_setting('listen_addresses') as addresses`,
    );
    expect(addresses).toBe("");
    const pid = await postgresPid(dataDir);
    await first.stop();
    expect(pid !== undefined && isRunning(pid)).toBe(false);

    const second = await start(dataDir);
    const [row] = await ask(second.connection, (sql) => sql`select answer from kept`);
    expect(row?.answer).toBe(42);
    expect(second.version).toMatch(/^18\.\d+$/);
  });

  it("keeps other users out: the directory of data and socket is its owner's alone", async () => {
    const dataDir = await makeDataDirectory();
    await start(dataDir);
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700);
    expect((await stat(join(dataDir, "pg18"))).mode & 0o777).toBe(0o700);
    expect((await stat(join(dataDir, "pg18", ".s.PGSQL.5432"))).mode & 0o777).toBe(0o700);
  });

  it("is adopted by the next start when the process that started it was killed", async () => {
    const dataDir = await makeDataDirectory();
    const killed = startUser(dataDir);
    await killed.ready;
    const pid = await postgresPid(dataDir);
    killed.process.kill("SIGKILL");

    const messages: string[] = [];
    const next = await start(dataDir, messages);
    expect(messages).toContain("using the Postgres that already runs");
    expect(await postgresPid(dataDir)).toBe(pid);
    await next.stop();
    expect(isRunning(pid as number)).toBe(false);
  });

  it("is one Postgres when four processes start at once on an empty directory", async () => {
    const dataDir = join(await makeDirectory(), "postgres");
    const users = [1, 2, 3, 4].map(() => startUser(dataDir));
    const connections = await Promise.all(users.map((user) => user.ready));
    const started = await Promise.all(
      connections.map((connection) => ask(connection, (sql) => sql`select pg_postmaster_start_time()::text as at`)),
    );
    expect(new Set(started.map(([row]) => row?.at)).size).toBe(1);
    expect(users.filter((user) => user.messages.includes("Postgres started"))).toHaveLength(1);
    expect((await readdir(dataDir)).sort()).toEqual(["pg18", "postgres.log"]);
  });

  it("is started again while it is in use, without being asked, when it is killed", async () => {
    const dataDir = await makeDataDirectory();
    const embedded = await start(dataDir);
    const before = await postgresPid(dataDir);
    await killPostgres(dataDir);
    const killedAt = performance.now();
    await until("it answers again", () =>
      ask(embedded.connection, (sql) => sql`select 1`).then(
        () => true,
        () => false,
      ),
    );
    expect(await postgresPid(dataDir)).not.toBe(before);
    expect(performance.now() - killedAt).toBeLessThan(3_000);
  });

  it("is started again by a process that adopted it", async () => {
    const dataDir = await makeDataDirectory();
    const killed = startUser(dataDir);
    await killed.ready;
    const adopter = startUser(dataDir);
    const connection = await adopter.ready;
    killed.process.kill("SIGKILL");
    const restarted = adopter.logged("Postgres started");
    await killPostgres(dataDir);
    await restarted;
    await ask(connection, (sql) => sql`select 1`);
  });

  it("answers again when ensure() has returned, and ensure() at once by many starts it once", async () => {
    const dataDir = await makeDataDirectory();
    const messages: string[] = [];
    const embedded = await start(dataDir, messages);
    await killPostgres(dataDir);
    await Promise.all([1, 2, 3].map(() => embedded.ensure()));
    await ask(embedded.connection, (sql) => sql`select 1`);
    expect(messages.filter((message) => message === "Postgres started")).toHaveLength(2);
  });

  it("is left running by stop() while another process is connected, and stopped by the last one", async () => {
    const dataDir = await makeDataDirectory();
    const first = await start(dataDir);
    const second = startUser(dataDir);
    const connection = await second.ready;
    await ask(connection, async (sql) => {
      await sql`select 1`;
      await first.stop();
      expect(await sql`select 1 as still`).toHaveLength(1);
    });
    const pid = await postgresPid(dataDir);
    await second.stop();
    expect(pid !== undefined && isRunning(pid)).toBe(false);
  });

  it("starts although a killed initdb left its half-made directory, and removes that", async () => {
    const dataDir = join(await makeDirectory(), "postgres");
    const killed = startUser(dataDir);
    await until("initdb works", async () =>
      (await readdir(dataDir).catch(() => [])).some((name) => name.includes(".init-")),
    );
    killed.process.kill("SIGKILL");
    await killed.ready.catch(() => undefined);
    expect(await readdir(dataDir)).not.toContain("pg18");

    const embedded = await start(dataDir);
    await ask(embedded.connection, (sql) => sql`select 1`);
    await embedded.stop();
    await until("nothing half-made is left", async () => {
      await (await start(dataDir)).stop(); // the killed one's initdb may have outlived it by a moment
      return !(await readdir(dataDir)).some((name) => name.includes(".init-"));
    });
  });

  it("starts although the lock file names a process that is not Postgres", async () => {
    const dataDir = await makeDataDirectory();
    await (await start(dataDir)).stop();
    await writeFile(join(dataDir, "pg18", "postmaster.pid"), `${process.pid}\n${dataDir}\n`);
    const embedded = await start(dataDir);
    await ask(embedded.connection, (sql) => sql`select 1`);
  });

  it("works in a directory whose path is too long for a socket", async () => {
    const dataDir = await makeDataDirectory(join(await makeDirectory(), "d".repeat(120)));
    const embedded = await start(dataDir);
    expect(Buffer.byteLength(join(embedded.connection.host, ".s.PGSQL.5432"))).toBeLessThanOrEqual(103);
    expect((await stat(join(embedded.connection.host, ".."))).mode & 0o777).toBe(0o700);
    await ask(embedded.connection, (sql) => sql`select 1`);
    await embedded.stop();
    await expect(stat(join(embedded.connection.host, ".."))).rejects.toThrow("ENOENT");
  });

  it("refuses data of another major version instead of starting empty", async () => {
    const dataDir = join(await makeDirectory(), "postgres");
    await mkdir(join(dataDir, "pg17"), { recursive: true });
    await expect(start(dataDir)).rejects.toThrow("was made by Postgres 17");
  });
});
