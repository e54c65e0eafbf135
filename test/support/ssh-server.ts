/** Owns a real sshd on a free port of the loopback, for tests. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";

/** The program, or undefined where it is not on this machine. `LEASEHOLD_TEST_SSHD` names one elsewhere. */
export const sshd = [process.env.LEASEHOLD_TEST_SSHD ?? "", "/usr/sbin/sshd", "/usr/local/sbin/sshd"].find(
  (path) => path !== "" && existsSync(path),
);

export class SshServer {
  /** Private key that is let in. */
  readonly key: string;
  /** Line for known_hosts. */
  readonly knownHosts: string;
  readonly port: number;
  private readonly process: ChildProcess;

  private constructor(directory: string, port: number, process: ChildProcess) {
    this.port = port;
    this.process = process;
    this.key = readFileSync(join(directory, "user"), "utf8");
    const [type, key] = readFileSync(join(directory, "host.pub"), "utf8").split(" ");
    this.knownHosts = `[127.0.0.1]:${port} ${type} ${key}\n`;
  }

  static async start(program: string, directory: string): Promise<SshServer> {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    for (const name of ["host", "user"]) makeKey(join(directory, name));
    const port = await freePort();
    const config = [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${join(directory, "host")}`,
      `AuthorizedKeysFile ${join(directory, "user.pub")}`,
      "PidFile none",
      "StrictModes no",
      "UsePAM no",
      "PasswordAuthentication no",
    ];
    writeFileSync(join(directory, "config"), `${config.join("\n")}\n`);
    // sshd insists on this directory when root runs it.
    if (userInfo().uid === 0) mkdirSync("/run/sshd", { recursive: true });
    const process = spawn(program, ["-D", "-e", "-f", join(directory, "config")], { stdio: "ignore" });
    await reachable(port);
    return new SshServer(directory, port, process);
  }

  url(path: string): string {
    return `ssh://${userInfo().username}@127.0.0.1:${this.port}${path}`;
  }

  stop(): void {
    this.process.kill();
  }
}

export function makeKey(path: string): void {
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path]);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function reachable(port: number): Promise<void> {
  const until = performance.now() + 10_000;
  while (performance.now() < until) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("sshd did not start");
}
