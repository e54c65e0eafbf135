/** Owns: mischief in the object store and with the `.git` directory itself, and repositories within the workspace. */
import { type Mischief, sh } from "./mischief.js";

export const objects: readonly Mischief[] = [
  {
    name: "alternates to another repository",
    script: sh`git init -q "$LANE/alt-$$" ; echo "$LANE/alt-$$/.git/objects" > .git/objects/info/alternates; echo http://127.0.0.1:9/objects > .git/objects/info/http-alternates`,
  },
  {
    name: "alternates to the mirror",
    script: sh`ls -d "$WORK"/../../../mirrors/*/objects > .git/objects/info/alternates; rm -rf .git/objects/pack/* `,
  },
  {
    name: "a damaged commit-graph",
    script: sh`git commit-graph write --reachable; f=.git/objects/info/commit-graph; chmod u+w $f; printf 'garbage' | dd of=$f bs=1 seek=64 conv=notrunc status=none`,
  },
  {
    name: "a damaged multi-pack-index",
    script: sh`git multi-pack-index write 2>/dev/null || true; printf 'MIDXgarbage' > "$LANE/midx"; rm -f .git/objects/pack/multi-pack-index; cp "$LANE/midx" .git/objects/pack/multi-pack-index`,
  },
  {
    name: "a pack without its index, and an index without its pack",
    script: sh`git repack -adq; rm -f .git/objects/pack/*.idx; touch .git/objects/pack/pack-$(printf '%040d' 1).idx`,
  },
  { name: "packs that are gone", script: sh`rm -f .git/objects/pack/*; rm -rf .git/objects/??` },
  {
    name: "a pack replaced by another of its name",
    script: sh`for p in .git/objects/pack/*.pack; do rm -f "$p"; printf 'PACKgarbage' > "$p"; done; for o in .git/objects/??/*; do test -f "$o" && { rm -f "$o"; printf garbage > "$o"; }; done; true`,
  },
  {
    name: "objects under names that are not theirs",
    script: sh`mkdir -p .git/objects/aa; printf 'x' | perl -MCompress::Zlib -e 'local $/; print compress("blob 1\0".<STDIN>)' > .git/objects/aa/$(printf '%038d' 0); chmod 444 .git/objects/aa/*`,
  },
  {
    name: "objects as symlinks",
    script: sh`mv .git/objects "$LANE/objects-$$"; ln -s "$LANE/objects-$$" .git/objects`,
  },
  {
    name: "gc and repack",
    script: sh`git commit -q --allow-empty -m x; git gc --aggressive --prune=now -q; git repack -adkfq --write-bitmap-index; git pack-refs --all --prune; git update-server-info`,
  },
  {
    name: "unreachable objects, many",
    script: sh`for n in $(seq 200); do echo $n; done | while read n; do echo $n > "$LANE/o-$n"; done; git hash-object -w "$LANE"/o-* >/dev/null; rm "$LANE"/o-*`,
  },
  {
    name: ".git as a file that points elsewhere",
    script: sh`mv .git "$LANE/moved-$$"; echo "gitdir: $LANE/moved-$$" > .git`,
  },
  {
    name: ".git as a file that points into a canary",
    script: sh`rm -rf .git; echo "gitdir: $OUT/repository/.git" > .git`,
  },
  { name: ".git as a symlink to a canary", script: sh`rm -rf .git; ln -s "$OUT/repository/.git" .git` },
  { name: ".git missing", script: sh`rm -rf .git` },
  {
    name: ".git missing, with an enclosing repository",
    script: sh`rm -rf .git; git init -q ..; git -C .. add -f "$WORK" >/dev/null 2>&1`,
    undo: sh`rm -rf "$WORK/../.git"`,
  },
  { name: ".git read-only", script: sh`chmod -R a-w .git` },
  { name: ".git without any permission", script: sh`chmod 000 .git` },
  {
    name: ".git as an empty directory, a pipe and a bare repository in its place",
    script: sh`rm -rf .git; mkfifo pipe; mv pipe .git`,
  },
  {
    name: ".git that is a bare repository's content, in the top",
    script: sh`mv .git "$LANE/gone-$$"; git init -q --bare . ; cp "$PROGRAM" hooks/post-checkout`,
  },
  {
    name: "commondir and gitdir that lead away",
    script: sh`echo "$OUT/repository/.git" > .git/commondir; echo "$OUT/.git" > .git/gitdir`,
  },
  {
    name: "a nested repository, with hooks and a filter",
    script: sh`git init -q nested; cp "$PROGRAM" nested/.git/hooks/post-checkout; git -C nested config core.fsmonitor "$PROGRAM"; echo n > nested/n.txt; git -C nested -c core.fsmonitor= add n.txt; git -C nested -c core.fsmonitor= commit -qm nested`,
  },
  {
    name: "nested repositories below ignored, tracked and untracked directories",
    script: sh`for place in build/n node_modules/p src/lib/n u/v/n; do git init -q $place; echo n > $place/n.txt; git -C $place add n.txt; git -C $place commit -qm n; done`,
  },
  {
    name: "a nested bare repository, and one whose worktree is elsewhere",
    script: sh`git clone -q --bare "$URL" bare.git; git init -q --separate-git-dir="$LANE/sep-$$" separate; git init -q away; git -C away config core.worktree "$OUT"`,
  },
  {
    name: "a nested repository in place of a tracked directory",
    script: sh`rm -r src; git clone -q "$URL" src; echo x > src/x`,
  },
  {
    name: ".git files and directories in subdirectories",
    script: sh`mkdir dir/.git docs/.GIT; echo 'gitdir: /nowhere' > src/.git; echo x > docs/.GIT/config; mkdir -p 'src/.git ' 'src/.git.' 'src/git~1' 'src/.git::$INDEX_ALLOCATION'; echo x > 'src/git~1/HEAD'`,
  },
  {
    name: "a submodule that was added as a link only",
    script: sh`git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),fake; mkdir fake; git commit -qm fake; printf '[submodule "fake"]\n\tpath = fake\n\turl = ../../x\n' > .gitmodules`,
  },
  {
    name: "names that only look like .git",
    script: sh`mkdir '.git ' '.Git' '.git.' 'git~1'; printf x > $'.g\xe2\x80\x8cit'; echo x > '.git /config'; echo y > .Git/config`,
  },
  {
    name: "maintenance that was registered and run",
    script: sh`git maintenance run --task=commit-graph --task=loose-objects --task=incremental-repack 2>/dev/null; git config --add maintenance.repo "$WORK"; git config maintenance.strategy incremental`,
  },
];
