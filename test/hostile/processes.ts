/** Owns: mischief by processes that outlive their lease, and by what they hold. */
import { type Mischief, sh } from "./mischief.js";

/** Starts a process of its own that ends after a minute at the latest; its id is in `$LANE/pids`. */
const start = sh`start() { setsid timeout 60 "$@" </dev/null >/dev/null 2>&1 & echo $! >> "$LANE/pids"; }; `;
/** May be done again. */
const undo = sh`test -e "$LANE/pids" || exit 0; while read pid; do kill -9 -- -$pid 2>/dev/null || true; done < "$LANE/pids"; rm "$LANE/pids"`;
/** What is read may also have gone in between. */
const whileWriting = /is being written to|could not be examined/;
const isRoot = `test "$(id -u)" = 0`;

export const processes: readonly Mischief[] = [
  {
    name: "a process that keeps a tracked file open and writes to it",
    script:
      start +
      sh`start perl -e 'open F, "+<", "a.txt" or die; $| = 1; while (1) { seek F, 0, 0; syswrite F, "late\n"; select undef, undef, undef, 0.01 }'; sleep 0.1`,
    undo,
    mayQuarantine: whileWriting,
  },
  {
    name: "a process that sits in the directory and writes",
    script:
      start +
      sh`start perl -e 'while (1) { for ("late.txt", "src/main.txt", ".git/config", ".git/hooks/late") { open F, ">>", $_ and print F "late\n"; close F } select undef, undef, undef, 0.01 }'; sleep 0.1`,
    undo,
    mayQuarantine: whileWriting,
  },
  {
    name: "a process that reopens by path in a loop",
    script:
      start +
      sh`start perl -e 'chdir "/"; while (1) { for ("late.txt", "a.txt", ".git/config", "src/main.txt") { open F, ">>", "$ENV{WORK}/$_" and print F "late\n"; close F } select undef, undef, undef, 0.02 }'; sleep 0.1`,
    undo,
    mayQuarantine: whileWriting,
  },
  {
    name: "a process that maps a file",
    script:
      start +
      sh`start python3 -c 'import mmap, time
f = open("src/main.txt", "r+b"); m = mmap.mmap(f.fileno(), 0); f.close()
import os; os.chdir("/")
while True: m[0:1] = b"L"; time.sleep(0.01)'; sleep 0.3`,
    undo,
    mayQuarantine: whileWriting,
    needs: `python3 -c 'import mmap'`,
  },
  {
    name: "a process whose directory handle is open below the workspace",
    script:
      start +
      sh`start perl -MFcntl -e 'opendir D, "src/lib" or die; chdir *D or die; while (1) { open F, ">", "late" and close F; select undef, undef, undef, 0.01 }'; sleep 0.1`,
    undo,
    mayQuarantine: whileWriting,
  },
  {
    name: "a program that runs from the workspace",
    script:
      start + sh`cp "$(command -v sleep)" build.log; chmod +x build.log; cd /; start "$WORK/build.log" 55; sleep 0.1`,
    undo,
  },
  {
    name: "a git daemon and a maintenance loop",
    script:
      start +
      sh`start git daemon --reuseaddr --port=0 --listen=127.0.0.1 --base-path="$WORK" --export-all "$WORK"; start bash -c 'while :; do git -C "$WORK" commit -q --allow-empty -m late; git -C "$WORK" gc -q --prune=now; sleep 0.3; done'; sleep 0.2`,
    undo,
    mayQuarantine: whileWriting,
  },
  {
    name: "processes that are born all the time",
    script:
      start +
      sh`start bash -c 'while :; do (cd "$WORK" 2>/dev/null && echo late >> late.txt && sleep 0.05) & sleep 0.02; done'; sleep 0.1`,
    undo,
    mayQuarantine: whileWriting,
  },
  {
    name: "a mount point inside",
    script: sh`mkdir -p mnt; mount -t tmpfs -o size=64k tmpfs mnt; echo kept > mnt/kept`,
    undo: sh`grep " $DATA/.*/mnt " /proc/self/mounts | cut -d' ' -f2 | xargs -r -n1 umount`,
    needs: `${isRoot} && mkdir probe && mount -t tmpfs tmpfs probe && umount probe && rmdir probe`,
    mayQuarantine: "mount",
  },
];
