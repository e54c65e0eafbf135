/** Owns: what the stage is set with: an upstream's content, and a server's user whose own git configuration is hostile. */
import { chmod, cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** The configuration of git of the user that the server runs as, as an earlier holder of the same user may have left it. */
export async function hostileHome(home: string, program: string, ran: string): Promise<void> {
  await mkdir(join(home, "template", "hooks"), { recursive: true });
  await mkdir(join(home, ".config", "git"), { recursive: true });
  // a holder's own git may run what it planted, anybody else may not; a filter passes its input on
  await writeFile(
    program,
    `#!/bin/sh\n[ -n "$HOLDER" ] || echo "$0 $*" >> ${ran}\n[ -t 0 ] || cat 2>/dev/null\nexit 0\n`,
  );
  await chmod(program, 0o755);
  await cp(program, join(home, "template", "hooks", "post-checkout"));
  const config = `[core]
\tfsmonitor = ${program}
\thooksPath = ${home}/template/hooks
\tattributesFile = ${home}/attributes
\texcludesFile = ${home}/excludes
\tautocrlf = true
\tpager = ${program}
\teditor = ${program}
\tsshCommand = ${program}
\taskPass = ${program}
[init]
\ttemplateDir = ${home}/template
\tdefaultBranch = hostile
[credential]
\thelper = ${program}
[url "/nowhere/"]
\tinsteadOf = /
[filter "lfs"]
\tsmudge = ${program}
\tclean = ${program}
\trequired = true
[clone]
\tdefaultRemoteName = hostile
`;
  for (const place of [".gitconfig", ".config/git/config"]) await writeFile(join(home, place), config);
  await writeFile(join(home, "attributes"), "* filter=lfs eol=crlf\n");
  await writeFile(join(home, "excludes"), "src\n");
}

export function hostileEnvironment(home: string, program: string): Record<string, string> {
  return {
    HOME: home,
    XDG_CONFIG_HOME: join(home, ".config"),
    GIT_DIR: join(home, "nowhere"),
    GIT_WORK_TREE: home,
    GIT_INDEX_FILE: join(home, "index"),
    GIT_TEMPLATE_DIR: join(home, "template"),
    GIT_SSH_COMMAND: program,
    GIT_ASKPASS: program,
    SSH_ASKPASS: program,
    GIT_EDITOR: program,
    GIT_PAGER: program,
    GIT_EXTERNAL_DIFF: program,
    GIT_CONFIG_COUNT: "1",
    GIT_CONFIG_KEY_0: "core.fsmonitor",
    GIT_CONFIG_VALUE_0: program,
  };
}

/** The upstream of every lane: branches, tags, kinds of files, attributes that convert, names that are awkward. */
export const seed = String.raw`
git init -q -b main "$SEED"; cd "$SEED"
printf '*.log\nbuild/\nnode_modules/\n' > .gitignore
printf 'crlf.txt eol=crlf\n*.bin binary\n*.flt filter=evil diff=evil merge=evil\n*.lfs filter=lfs diff=lfs merge=lfs -text\n' > .gitattributes
printf 'a\n' > a.txt; printf 'b\n' > b.txt; printf 'one\ntwo\n' > crlf.txt; printf '\0\1\2' > data.bin; printf 'plain\n' > kept.flt
mkdir -p src/lib dir/deep docs
printf 'main\n' > src/main.txt; printf 'lib\n' > src/lib/lib.txt; printf 'c\n' > dir/c.txt; printf 'd\n' > dir/deep/d.txt
printf '#!/bin/sh\n' > run.sh; chmod +x run.sh; ln -s a.txt link; ln -s dir dirlink
printf 'x\n' > docs/Case.txt; printf 'q\n' > 'docs/with "quotes"'; printf 'u\n' > $'docs/\xc3\xa9.txt'
git add -A; git commit -qm first; git tag v1; git tag -a -m annotated v1.0
git checkout -q -b feature; printf 'f\n' > feature.txt; git add -A; git commit -qm feature
git checkout -q main; printf 'a2\n' > a.txt; printf 'm\n' > src/more.txt; git add -A; git commit -qm second
git clone -q --bare "$SEED" "$SEED.git"
`;
