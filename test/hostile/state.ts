/** Owns: mischief in what git keeps of its state: the index, refs, locks, and operations that were left half done. */
import { type Mischief, sh } from "./mischief.js";

export const state: readonly Mischief[] = [
  {
    name: "skip-worktree over a poisoned file",
    script: sh`git update-index --skip-worktree a.txt; printf 'poison\n' > a.txt`,
  },
  {
    name: "assume-unchanged over a poisoned file",
    script: sh`git update-index --assume-unchanged src/main.txt; printf 'poison\n' > src/main.txt; chmod +x src/main.txt`,
  },
  {
    name: "intent-to-add, and a deletion that is staged only",
    script: sh`touch later; git add -N later; git rm -q --cached b.txt`,
  },
  { name: "a sparse checkout", script: sh`git sparse-checkout set --cone dir` },
  { name: "a sparse index", script: sh`git sparse-checkout set --cone --sparse-index dir` },
  {
    name: "info/sparse-checkout without the setting's file",
    script: sh`git config core.sparseCheckout true; printf '/docs/\n' > .git/info/sparse-checkout; git read-tree -mu HEAD`,
  },
  { name: "a split index", script: sh`git update-index --split-index; echo x >> a.txt; git add a.txt` },
  {
    name: "an index of version 4 with an untracked cache",
    script: sh`git update-index --index-version 4; git update-index --force-untracked-cache`,
  },
  { name: "a corrupt index", script: sh`printf 'DIRC\0\0\0\2garbage' > .git/index` },
  {
    name: "an index of other files",
    script: sh`rm .git/index; git read-tree v1; git update-index --add --cacheinfo 100644,$(git hash-object -w a.txt),../../escape 2>/dev/null || true`,
  },
  { name: "an index that is a symlink to a canary", script: sh`rm .git/index; ln -s "$OUT/file.txt" .git/index` },
  { name: "no index", script: sh`rm .git/index` },
  {
    name: "unmerged entries",
    script: sh`git checkout -q -b side v1; echo side > a.txt; git commit -qam side; git checkout -q main; git merge side >/dev/null 2>&1 || true; test -f .git/MERGE_HEAD`,
  },
  {
    name: "locks of every kind",
    script: sh`touch .git/index.lock .git/HEAD.lock .git/config.lock .git/shallow.lock .git/packed-refs.lock .git/refs/heads/main.lock .git/refs/remotes/origin/HEAD.lock .git/objects/maintenance.lock .git/gc.pid
      mkdir -p .git/objects/info/commit-graphs; touch .git/objects/info/commit-graphs/commit-graph-chain.lock .git/objects/pack/tmp_pack_x .git/objects/pack/multi-pack-index.lock`,
  },
  {
    name: "packed-refs that is damaged",
    script: sh`printf '# pack-refs with: peeled fully-peeled sorted\nnonsense\n0000 refs/heads/x\n' > .git/packed-refs`,
  },
  {
    name: "packed-refs with refs that were never there",
    script: sh`printf '%s refs/remotes/origin/faked\n' $(git rev-parse v1) >> .git/packed-refs`,
  },
  { name: "a detached HEAD", script: sh`git checkout -q --detach v1; echo d >> a.txt; git commit -qam detached` },
  {
    name: "an unborn HEAD",
    script: sh`git symbolic-ref HEAD refs/heads/unborn; git commit -q --allow-empty -m born; git symbolic-ref HEAD refs/heads/unborn2`,
  },
  { name: "a HEAD of garbage", script: sh`printf 'garbage\0\n' > .git/HEAD` },
  { name: "a HEAD that points outside", script: sh`printf 'ref: ../../../../../../etc/passwd\n' > .git/HEAD` },
  { name: "a HEAD that is a symlink", script: sh`rm .git/HEAD; ln -s "$OUT/file.txt" .git/HEAD` },
  {
    name: "replaced objects",
    script: sh`git replace HEAD HEAD~1; git replace $(git rev-parse HEAD:a.txt) $(git rev-parse HEAD:b.txt)`,
  },
  { name: "grafts", script: sh`mkdir -p .git/info; git rev-parse HEAD > .git/info/grafts` },
  { name: "a shallow boundary", script: sh`git rev-parse HEAD > .git/shallow` },
  {
    name: "local branches, tags moved and deleted, notes and odd refs",
    script: sh`git branch one; git branch two/three v1; git tag -f v1 HEAD >/dev/null; git tag -d v1.0 >/dev/null; git notes add -m note; git update-ref refs/odd/ref HEAD; git update-ref refs/leasehold/keep/x HEAD; git update-ref refs/heads/@ HEAD; git symbolic-ref refs/heads/loop refs/heads/loop || true`,
  },
  {
    name: "remote-tracking refs that are faked, and origin/HEAD elsewhere",
    script: sh`git update-ref refs/remotes/origin/main v1; git update-ref refs/remotes/origin/faked HEAD; git update-ref -d refs/remotes/origin/feature; git symbolic-ref refs/remotes/origin/HEAD refs/remotes/origin/faked`,
  },
  {
    name: "ref files that are no refs",
    script: sh`mkdir -p .git/refs/heads/deep/er; printf 'garbage\n' > .git/refs/heads/broken; printf '%040d\n' 0 > .git/refs/heads/zero; ln -s "$OUT/file.txt" .git/refs/heads/linked; printf x > $'.git/refs/heads/new\nline'; : > .git/refs/heads/empty`,
  },
  {
    name: "a ref that is a directory, and one that is a pipe",
    script: sh`rm -f .git/refs/heads/main; mkdir -p .git/refs/heads/main/below; mkfifo .git/refs/tags/pipe`,
  },
  {
    name: "stashes, several",
    script: sh`for n in 1 2 3; do echo $n >> a.txt; echo $n > untracked-$n; git stash push -q --include-untracked; done`,
  },
  {
    name: "reflogs that grow, and one of a ref that is gone",
    script: sh`for n in 1 2 3; do git commit -q --allow-empty -m $n; done; git reset -q --hard v1; mkdir -p .git/logs/refs/heads; cp .git/logs/HEAD .git/logs/refs/heads/gone; cp .git/logs/HEAD .git/logs/refs/stash`,
  },
  {
    name: "a half-done rebase",
    script: sh`git checkout -q -b topic v1; echo t > a.txt; git commit -qam t; git rebase main >/dev/null 2>&1 || true; test -d .git/rebase-merge`,
  },
  {
    name: "a half-done cherry-pick and revert",
    script: sh`git checkout -q -b pick v1; echo p > a.txt; git commit -qam p; git cherry-pick main >/dev/null 2>&1 || true; test -f .git/CHERRY_PICK_HEAD; git rev-parse HEAD > .git/REVERT_HEAD; mkdir -p .git/sequencer; echo x > .git/sequencer/todo`,
  },
  {
    name: "a half-done bisect",
    script: sh`git bisect start >/dev/null; git bisect bad >/dev/null; git bisect good v1 >/dev/null 2>&1 || true; test -f .git/BISECT_LOG`,
  },
  {
    name: "a half-done am",
    script: sh`git format-patch -q -1 -o "$LANE" v1 --root; git am "$LANE"/0001* >/dev/null 2>&1 || true; test -d .git/rebase-apply`,
  },
  {
    name: "heads that operations leave",
    script: sh`for name in MERGE_HEAD ORIG_HEAD FETCH_HEAD AUTO_MERGE MERGE_MSG SQUASH_MSG COMMIT_EDITMSG TAG_EDITMSG REBASE_HEAD; do git rev-parse HEAD > .git/$name; done`,
  },
  {
    name: "linked worktrees",
    script: sh`git worktree add -q -b linked "$LANE/linked-$RANDOM$RANDOM"; git worktree lock "$(git worktree list --porcelain | sed -n 's/^worktree //p' | tail -1)"`,
  },
  {
    name: "submodules' git directories and .gitmodules",
    script: sh`git -c protocol.file.allow=always submodule --quiet add "$URL" sub; cp "$PROGRAM" .git/modules/sub/hooks/post-checkout; git -C sub config core.fsmonitor "$PROGRAM"; git commit -qm sub; mkdir -p .git/modules/other`,
  },
  {
    name: "rerere, subtrees, bundles and other places",
    script: sh`mkdir -p .git/rr-cache/x .git/svn .git/lfs/tmp .git/branches .git/remotes; echo x > .git/rr-cache/x/preimage; echo 'URL: /nowhere' > .git/remotes/old; echo "$OUT#main" > .git/branches/old; git bundle create -q .git/x.bundle HEAD; echo x > .git/description; echo 'gitdir: x' > .git/commondir`,
  },
];
