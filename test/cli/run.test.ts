import { existsSync } from "node:fs";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { hasTerminals, leasehold, onTerminal, start, temporaryDirectory } from "../support/command-line.js";
import {
  failure,
  granted,
  leaseLost,
  leaseOf,
  renewed,
  type Script,
  type ScriptedServer,
  serveScript,
} from "../support/scripted-server.js";

interface Scene {
  readonly server: ScriptedServer;
  readonly path: string;
  /** Lease ids that were released. */
  readonly released: string[];
}

async function scene(more: Script, body: (scene: Scene) => Promise<void>): Promise<void> {
  await using directory = await temporaryDirectory();
  const released: string[] = [];
  await using server = await serveScript({
    acquire: () => granted(directory.path),
    heartbeat: () => renewed(),
    release: (request) => {
      released.push(request.leaseId);
      return {};
    },
    ...more,
  });
  await body({ server, path: directory.path, released });
}

const run = (...command: string[]) => ["run", "--repository", "demo", "--", ...command];

test("G8 run executes the command in the workspace with its facts, exits with its status, and gives the workspace back", async () => {
  await scene({}, async ({ server, path, released }) => {
    const script =
      'pwd; echo "$PWD $LEASEHOLD_WORKSPACE_DIR $LEASEHOLD_LEASE_ID $LEASEHOLD_FENCE $LEASEHOLD_COMMIT $WS"; exit 3';
    const args = ["run", "--repository", "demo", "--workspace-env", "WS", "--", "sh", "-c", script];
    const environment = { GIT_DIR: "/elsewhere", LEASEHOLD_LEASE_TOKEN: "of another lease" };
    const { status, stdout, stderr } = await leasehold(server.address, args, environment);
    expect(status).toBe(3);
    const commit = "c0ffee".padEnd(40, "0");
    expect(stdout).toBe(`${path}\n${path} ${path} w17.4 4 ${commit} ${path}\n`);
    expect(stderr).toBe("");
    expect(released).toEqual(["w17.4"]);

    const inner = await leasehold(
      server.address,
      run("sh", "-c", 'echo "[$GIT_DIR$LEASEHOLD_LEASE_TOKEN]"'),
      environment,
    );
    expect(inner).toMatchObject({ status: 0, stdout: "[]\n" });
  });
});

test("options after the command are the command's own", async () => {
  await scene({}, async ({ server }) => {
    const args = ["run", "-r", "demo", "echo", "--help", "-r", "x", "--", "y"];
    expect(await leasehold(server.address, args)).toMatchObject({ status: 0, stdout: "--help -r x -- y\n" });
  });
});

test("run asks for what its options say", async () => {
  let asked: unknown;
  const acquire: Script["acquire"] = (request) => {
    asked = request;
    throw failure("POOL_EXHAUSTED", Code.ResourceExhausted, { metadata: { position: "2" } });
  };
  await scene({ acquire }, async ({ server }) => {
    const options = [
      ...["--revision", "main", "--holder", "me", "--ttl", "90s", "--wait", "1h30m", "--branch", "mine"],
      ...["--author-name", "A", "--author-email", "a@x", "--label", "a=b", "--label", "c=d=e", "--max-staleness", "5m"],
    ];
    const result = await leasehold(server.address, ["run", "-r", "demo", ...options, "--", "true"]);
    expect(result).toMatchObject({ status: 121, stdout: "" });
    expect(result.stderr).toContain("[POOL_EXHAUSTED]");
    expect(asked).toMatchObject({
      ...{ repository: "demo", revision: "main", holder: "me", branch: "mine", labels: { a: "b", c: "d=e" } },
      ...{ ttl: { seconds: 90n }, wait: { seconds: 5_400n }, maxStaleness: { seconds: 300n } },
      author: { name: "A", email: "a@x" },
    });
  });
});

test("a command that is not there, or cannot be run, has the shell's own status, and the workspace is given back", async () => {
  await scene({}, async ({ server, path, released }) => {
    expect(await leasehold(server.address, run("no-such-command"))).toMatchObject({
      status: 127,
      stderr: "leasehold: no-such-command: command not found\n",
    });
    await writeFile(join(path, "script"), "#!/bin/sh\n");
    await chmod(join(path, "script"), 0o644);
    expect(await leasehold(server.address, run("./script"))).toMatchObject({ status: 126 });
    expect(released).toHaveLength(2);
  });
});

test.each(["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const)(
  "%s to run's process group reaches the command once, and the workspace is given back",
  async (signal) => {
    await scene({}, async ({ server, released }) => {
      const number = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1, SIGQUIT: 3 }[signal];
      const name = signal.slice(3);
      const script = `trap 'echo got ${name}; exit 40' ${name}; echo ready; while :; do sleep 0.05; done`;
      const trapped = start(server.address, run("sh", "-c", script));
      await trapped.printed("ready");
      process.kill(-(trapped.child.pid as number), signal);
      expect(await trapped.finished).toMatchObject({ status: 40, stdout: `ready\ngot ${name}\n` });

      const plain = start(server.address, run("sh", "-c", "echo ready; exec sleep 60"));
      await plain.printed("ready");
      process.kill(plain.child.pid as number, signal);
      expect((await plain.finished).status).toBe(128 + number);
      expect(released).toEqual(["w17.4", "w17.4"]);
    });
  },
);

test("a signal while the workspace is waited for ends run, and the server sees its caller leave", async () => {
  let waiting = () => {};
  const waits = new Promise<void>((resolve) => {
    waiting = resolve;
  });
  let left = () => {};
  const leaves = new Promise<void>((resolve) => {
    left = resolve;
  });
  const acquire: Script["acquire"] = (_, context) => {
    waiting();
    return new Promise((_resolve, reject) =>
      context.signal.addEventListener("abort", () => {
        left();
        reject(context.signal.reason);
      }),
    );
  };
  await scene({ acquire }, async ({ server }) => {
    const running = start(server.address, run("true"));
    await waits;
    running.child.kill("SIGINT");
    await leaves;
    expect((await running.finished).status).toBe(130);
  });
});

/** A server that calls the lease lost as soon as the command has made the file `ready`. */
async function losing(endReason: string, body: (scene: Scene) => Promise<void>): Promise<void> {
  let directory = "";
  const script: Script = {
    acquire: () => granted(directory, leaseOf({ ttlMs: 2_000 })),
    heartbeat: () => {
      if (existsSync(join(directory, "ready"))) throw leaseLost(endReason);
      return renewed(2_000);
    },
  };
  await scene(script, (made) => {
    directory = made.path;
    return body(made);
  });
}

test("a lost lease ends the command and all that it started, says why, and has a status of its own", async () => {
  await losing("RECLAIMED", async ({ server, path, released }) => {
    const script = `trap 'echo told; exit 0' TERM; sh -c 'echo $$ > inner; mv inner ready; exec sleep 60' & wait; wait`;
    const result = await leasehold(server.address, run("sh", "-c", script));
    expect(result).toMatchObject({ status: 120, stdout: "told\n" });
    expect(result.stderr).toContain("lease w17.4 is lost: it ended as RECLAIMED; stopping the command");
    const inner = Number(await readFile(join(path, "ready"), "utf8"));
    expect(await isRunning(inner)).toBe(false);
    expect(released).toEqual([]);
  });
});

test.skipIf(!hasTerminals)("a lost lease ends the command and all that it started on a terminal, too", async () => {
  await losing("RESET", async ({ server, path }) => {
    const script = "sh -c 'echo $$ > inner; mv inner ready; exec sleep 60'; :";
    const { stdout, status } = await onTerminal(server.address, run("sh", "-c", script));
    expect(status).toBe(120);
    expect(stdout).toContain("it ended as RESET");
    expect(await isRunning(Number(await readFile(join(path, "ready"), "utf8")))).toBe(false);
  });
});

test("a command that does not listen to SIGTERM when its lease is lost is ended by force after 5 s", async () => {
  await losing("EXPIRED", async ({ server }) => {
    const begun = performance.now();
    const script = "trap '' TERM; touch ready; while :; do sleep 0.1; done";
    expect(await leasehold(server.address, run("sh", "-c", script))).toMatchObject({ status: 120 });
    expect(performance.now() - begun).toBeGreaterThan(5_000);
  });
}, 20_000);

test("a workspace that is not on this machine is refused and given back", async () => {
  await scene({ acquire: () => granted("/no/such/directory") }, async ({ server, released }) => {
    const result = await leasehold(server.address, run("touch", "/tmp/never"));
    expect(result.status).toBe(125);
    expect(result.stderr).toContain("on host here, but its workspace /no/such/directory is not a directory");
    expect(released).toEqual(["w17.4"]);
  });
});

test("without a server, run says how to start one, and starts none", async () => {
  const server = await serveScript({});
  await server.stop();
  const result = await leasehold(server.address, run("true"));
  expect(result.status).toBe(122);
  expect(result.stderr).toContain(`no server answers at ${server.address}. Start one with \`leasehold serve\``);
});

test("a wrong command line has the status of our own failures, so that it is not taken for the command's", async () => {
  for (const args of [
    ["run", "--", "true"],
    ["run", "-r", "demo"],
    ["run", "-r", "demo", "--ttl", "10", "--", "true"],
  ]) {
    const result = await leasehold("http://127.0.0.1:1", args);
    expect(result, args.join(" ")).toMatchObject({ status: 125, stdout: "" });
    expect(result.stderr).toMatch(/^error: /);
  }
});

test("a workspace that cannot be given back does not change the command's status, and is mentioned", async () => {
  const stuck: Script = {
    release: () => {
      throw failure("HOST_IO", Code.Internal);
    },
  };
  await scene(stuck, async ({ server }) => {
    const result = await leasehold(server.address, run("sh", "-c", "exit 5"));
    expect(result.status).toBe(5);
    expect(result.stderr).toContain(
      "workspace not given back: scripted HOST_IO; it comes back when lease w17.4 expires",
    );
  });
});

test.skipIf(!hasTerminals)(
  "on a terminal, Ctrl-C reaches the command once, and the workspace is given back",
  async () => {
    await scene({}, async ({ server, released }) => {
      const script =
        "trap 'echo got INT; sleep 0.3; exit 41' INT; test -t 0 && : > /dev/tty && echo is a terminal; " +
        "echo ready; while :; do sleep 0.05; done";
      const { stdout, status } = await onTerminal(server.address, run("sh", "-c", script), {
        after: "ready",
        keys: "\x03",
      });
      expect(stdout.match(/got INT/g)).toHaveLength(1);
      expect(stdout).toContain("is a terminal");
      expect(status).toBe(41);
      expect(released).toEqual(["w17.4"]);
    });
  },
);

/** A process that ended and that nobody has asked about yet does not count. */
async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => ") Z");
  return !/\) Z[^)]*$/.test(stat);
}

test.skipIf(!hasTerminals)(
  "on a terminal, the first clone of a repository shows how far it is, and leaves no trace of that",
  async () => {
    await using directory = await temporaryDirectory();
    const url = "https://git.example.com/demo.git";
    let received = 0n;
    let finish = () => {};
    const script: Script = {
      acquire: () =>
        new Promise((resolve) => {
          finish = () => resolve(granted(directory.path));
        }),
      heartbeat: () => renewed(),
      release: () => ({}),
      admin: {
        listRepositories: () => {
          received += 50n;
          if (received > 150n) finish();
          const progress = { receivedObjects: received, totalObjects: 200n, receivedBytes: 3_000_000n };
          return { repositories: [{ name: "demo", url, progress }] };
        },
      },
    };
    await using server = await serveScript(script);
    const args = ["run", "-r", "https://git.example.com/Demo/", "--", "echo", "cloned"];
    const { stdout, status } = await onTerminal(server.address, args);
    expect(status).toBe(0);
    expect(stdout).toMatch(/cloning demo \[[^\]]+\] 50% 100\/200 objects, 3\.0 MB/);
    expect(stdout.trimEnd().endsWith("cloned")).toBe(true);
  },
);
