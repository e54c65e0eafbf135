// Owns: the steps from a bare checkout to one that runs, in order, each only where it is needed.
//
// 1. Nothing here needs anything that is not part of Node.
// 2. When all is ready this takes less than a second and writes nothing.
// 3. Any number of set-ups may run at once: they take turns, and the later ones find the work done.
import { buildIfNeeded, isBuilt } from "./build.mjs";
import { SetupError } from "./command.mjs";
import { areInstalled, install } from "./dependencies.mjs";
import { withLock } from "./lock.mjs";
import { makeNodegit, nodegitLoads } from "./nodegit.mjs";
import { lockFile } from "./paths.mjs";
import { say } from "./progress.mjs";

/** Makes the checkout ready, or says in one message what is missing and ends this process with status 1. */
export async function prepare() {
  try {
    if (!areInstalled() || !isBuilt() || !(await nodegitLoads())) {
      await withLock(lockFile(), prepareAlone);
    }
  } catch (error) {
    // What the system refuses (no right, no space) is for the user to mend, not for a stack trace.
    if (!(error instanceof SetupError) && error.syscall === undefined) {
      throw error;
    }
    say(error.message);
    process.exit(1);
  }
}

async function prepareAlone() {
  if (!areInstalled()) {
    await install();
  }
  if (!(await nodegitLoads())) {
    await makeNodegit();
  }
  await buildIfNeeded();
}
