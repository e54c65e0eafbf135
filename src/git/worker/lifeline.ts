/**
 * Owns that a worker dies with its server: the program of a thread that does nothing but wait for a pipe's end.
 *
 * Invariants:
 * 1. The server alone has the pipe's other end, and never writes: the kernel closes it, however the server ends.
 * 2. It waits in an event loop of its own, so that the process ends also while its main thread works and hears nothing.
 */
import { rmSync } from "node:fs";
import { Socket } from "node:net";
import { homedir } from "node:os";
import { basename } from "node:path";
import { homePrefix, lifelineDescriptor } from "../protocol.js";

function end(): void {
  // the server removes this process's home, unless it was killed
  const home = homedir();
  try {
    if (basename(home).startsWith(homePrefix)) rmSync(home, { recursive: true, force: true });
  } catch {
    // it is empty or nearly so; while work is done as the holders' user it may not be removed
  }
  process.kill(process.pid, "SIGKILL");
}

new Socket({ fd: lifelineDescriptor, readable: true, writable: false }).on("error", end).on("close", end).resume();
