/** Owns: mischief by git's settings: whatever makes a later git obey the holder. */
import { type Mischief, sh } from "./mischief.js";

export const settings: readonly Mischief[] = [
  {
    name: "hooks of every name",
    script: sh`for hook in pre-commit post-checkout post-merge post-index-change reference-transaction pre-auto-gc post-rewrite fsmonitor-watchman pre-push update post-update; do
      cp "$PROGRAM" .git/hooks/$hook; done`,
  },
  {
    name: "core.hooksPath in the working tree",
    script: sh`mkdir h; cp "$PROGRAM" h/post-checkout; cp "$PROGRAM" h/post-index-change; git config core.hooksPath "$WORK/h"`,
  },
  {
    name: "hooks as a symlink to elsewhere",
    script: sh`rm -r .git/hooks; mkdir -p "$LANE/hooks"; cp "$PROGRAM" "$LANE/hooks/post-checkout"; ln -s "$LANE/hooks" .git/hooks`,
  },
  { name: "core.fsmonitor as a program", script: sh`git config core.fsmonitor "$PROGRAM"; git status >/dev/null` },
  {
    name: "the built-in fsmonitor and the untracked cache",
    script: sh`git config core.fsmonitor true; git config core.untrackedCache true; git update-index --force-untracked-cache`,
  },
  {
    name: "editors, pagers, askpass, ssh, gpg, and a credential helper",
    script: sh`git config core.editor "$PROGRAM"; git config sequence.editor "$PROGRAM"; git config core.pager "$PROGRAM"; git config core.askPass "$PROGRAM"
      git config core.sshCommand "$PROGRAM"; git config gpg.program "$PROGRAM"; git config commit.gpgSign true; git config tag.gpgSign true; git config credential.helper "$PROGRAM"
      git config diff.external "$PROGRAM"; git config uploadpack.packObjectsHook "$PROGRAM"; git config core.gitProxy "$PROGRAM"`,
  },
  {
    name: "aliases that shadow commands",
    script: sh`for name in status st co clean fsck; do git config alias.$name "!$PROGRAM"; done`,
  },
  {
    name: "filters of a committed attribute, required",
    script: sh`git config filter.evil.smudge "$PROGRAM"; git config filter.evil.clean "$PROGRAM"; git config filter.evil.process "$PROGRAM"; git config filter.evil.required true; echo x >> kept.flt`,
  },
  {
    name: "a filter by an uncommitted .gitattributes",
    script: sh`git config filter.mine.smudge "$PROGRAM"; git config filter.mine.clean "$PROGRAM"; echo '* filter=mine ident eol=crlf' >> .gitattributes; echo '* filter=mine' > src/.gitattributes`,
  },
  {
    name: "a filter by .git/info/attributes",
    script: sh`git config filter.mine.smudge 'sed s/a/b/'; git config filter.mine.clean 'sed s/b/a/'; echo '* filter=mine eol=crlf' > .git/info/attributes; rm a.txt; git checkout -q a.txt`,
  },
  {
    name: "core.attributesFile and core.excludesFile",
    script: sh`printf '* eol=crlf filter=evil\n' > "$LANE/attributes"; printf '*\n' > "$LANE/excludes"; git config core.attributesFile "$LANE/attributes"; git config core.excludesFile "$LANE/excludes"; touch hidden`,
  },
  {
    name: "textconv, diff and merge drivers",
    script: sh`git config diff.evil.textconv "$PROGRAM"; git config diff.evil.command "$PROGRAM"; git config merge.evil.driver "$PROGRAM"; git config merge.tool evil; git config mergetool.evil.cmd "$PROGRAM"; echo y >> kept.flt`,
  },
  {
    name: "a Git LFS filter and endpoint",
    script: sh`git config filter.lfs.smudge "$PROGRAM"; git config filter.lfs.clean "$PROGRAM"; git config filter.lfs.process "$PROGRAM"; git config filter.lfs.required true; git config lfs.url http://127.0.0.1:9/; git config lfs.customtransfer.x.path "$PROGRAM"
      echo '*.txt filter=lfs diff=lfs merge=lfs -text' > .git/info/attributes; printf '[lfs]\n\turl = http://127.0.0.1:9/\n' > .lfsconfig; mkdir -p .git/lfs/objects`,
  },
  {
    name: "include.path and includeIf",
    script: sh`printf '[core]\n\tfsmonitor = %s\n\thooksPath = /nowhere\n' "$PROGRAM" > "$LANE/included"; git config include.path "$LANE/included"; git config includeIf.gitdir:/.path "$LANE/included"; git config includeIf.onbranch:main.path "$LANE/included"`,
  },
  {
    name: "a config for this worktree",
    script: sh`git config extensions.worktreeConfig true; git config --worktree core.sparseCheckout true; git config --worktree core.fsmonitor "$PROGRAM"`,
  },
  {
    name: "url.insteadOf and pushInsteadOf",
    script: sh`git config url./nowhere/.insteadOf /; git config url./elsewhere/.pushInsteadOf /`,
  },
  {
    name: "origin's url, pushurl, refspec and program changed",
    script: sh`git remote set-url origin /nowhere; git remote set-url --push origin /elsewhere; git config remote.origin.fetch '+refs/*:refs/*'; git config remote.origin.uploadpack "$PROGRAM"; git config remote.origin.vcs evil; git config remote.origin.mirror true; git config remote.origin.proxy http://127.0.0.1:9`,
  },
  {
    name: "another remote with refs of its own",
    script: sh`git clone -q "$URL" "$LANE/remote-$RANDOM"; git remote add evil "$URL"; git fetch -q evil; git config remote.pushDefault evil; git config checkout.defaultRemote evil`,
  },
  { name: "core.bare", script: sh`git config core.bare true` },
  { name: "core.worktree at a canary", script: sh`git config core.worktree "$OUT"` },
  {
    name: "core.worktree at a canary's repository, relative",
    script: sh`git config core.worktree "$(realpath --relative-to=.git "$OUT/repository")"`,
  },
  {
    name: "core.sharedRepository",
    script: sh`git config core.sharedRepository 0666; umask 0; echo s > shared; git add shared; git commit -qm shared; chmod -R go+w .git/objects`,
  },
  {
    name: "core.autocrlf and core.eol",
    script: sh`git config core.autocrlf true; git config core.eol crlf; rm -r src; git checkout -q src`,
  },
  {
    name: "core.fileMode, ignoreCase, symlinks and precomposeUnicode turned round",
    script: sh`git config core.fileMode false; git config core.ignoreCase true; git config core.symlinks false; git config core.precomposeUnicode true; chmod +x a.txt; chmod -x run.sh; rm link; printf a.txt > link`,
  },
  {
    name: "core.trustctime, checkStat and racy times",
    script: sh`git config core.trustctime false; git config core.checkStat minimal; old=$(stat -c %Y a.txt); printf 'X2\n' > a.txt; touch -d "@$old" a.txt; git status >/dev/null`,
  },
  {
    name: "an objectFormat and extensions that lie",
    script: sh`git config core.repositoryFormatVersion 1; git config extensions.objectFormat sha256; git config extensions.partialClone origin || true; printf '[extensions]\n\tnoop-v1 = true\n\trefStorage = reftable\n\tunknown = 1\n' >> .git/config`,
  },
  { name: "a config that is no config", script: sh`printf '[core\n\0\xff = "' > .git/config` },
  {
    name: "a config that is a symlink, and one that is a directory",
    script: sh`mv .git/config "$LANE/config-$RANDOM"; ln -s "$OUT/file.txt" .git/config; mkdir -p .git/config.worktree`,
  },
  {
    name: "credentials kept in .git",
    script: sh`printf 'https://user:secret@127.0.0.1\n' > .git/credentials; git config credential.helper "store --file=.git/credentials"; git config http.extraHeader 'Authorization: Basic c2VjcmV0'; git config http.cookieFile .git/cookies; echo c > .git/cookies`,
  },
  {
    name: "user, author and commit templates",
    script: sh`git config user.name Mallory; git config user.email mallory@example.com; git config commit.template "$LANE/t"; git config init.templateDir "$LANE/t"; git config trailer.x.command "$PROGRAM"`,
  },
  {
    name: "branch and upstream settings",
    script: sh`git config branch.main.remote .; git config branch.main.merge refs/heads/none; git config branch.main.rebase true; git config branch.autoSetupMerge always; git config push.default matching; git config pull.rebase true`,
  },
  {
    name: "gc, maintenance and pack settings",
    script: sh`git config gc.auto 1; git config maintenance.auto true; git config gc.recentObjectsHook "$PROGRAM"; git config core.compression 0; git config pack.writeBitmaps true; git config core.multiPackIndex true; git config core.commitGraph true`,
  },
  {
    name: "a partial clone's promisor",
    script: sh`git config extensions.partialClone origin; git config remote.origin.promisor true; git config remote.origin.partialCloneFilter blob:none; for p in .git/objects/pack/*.pack; do touch "$(echo "$p" | sed s/pack$/promisor/)"; done`,
  },
  {
    name: "safe.directory, protocol and transfer settings",
    script: sh`git config safe.directory '*'; git config protocol.ext.allow always; git config transfer.hideRefs refs/heads; git config receive.denyCurrentBranch ignore; git config submodule.recurse true; git config fetch.recurseSubmodules true`,
  },
  {
    name: "files of environments and editors in the tree",
    script: sh`printf 'touch ran\n' > .envrc; mkdir .vscode .direnv; printf '{}' > .vscode/settings.json; printf 'root = true\n' > .editorconfig; printf 'ignored\n' > .git/info/exclude; touch ignored .mailmap .gitmodules`,
  },
  {
    name: "info/exclude and .gitignore that hide what is there",
    script: sh`printf '*\n!.git\n' > .git/info/exclude; printf '*\n' > src/.gitignore; printf 'secret\n' >> .gitignore; touch secret src/hidden src/more.txt`,
  },
];
