/** Owns: what a holder may do in a random sequence, each as a line of bash; what fails, fails, and the next goes on. */
import fc from "fast-check";

/** Tracked, untracked, ignored ones, and some that need quoting. */
const paths = [
  "a.txt",
  "src/main.txt",
  "src/lib/lib.txt",
  "crlf.txt",
  "run.sh",
  "link",
  "docs/Case.txt",
  "new.txt",
  "new/deep/er.txt",
  "x.log",
  "build/out.o",
  "dir",
  "src/new",
  "odd name",
  "$'bad-\\xff'",
  "$'new\\nline'",
] as const;

const branches = ["one", "two", "main", "deep/er"] as const;
const path = fc.constantFrom(...paths).map((name) => (name.startsWith("$'") ? name : `'${name}'`));
const branch = fc.constantFrom(...branches);
const number = fc.integer({ min: 0, max: 9 });

/** `$TAG` differs in every sequence, so that no content is there from an earlier one. */
const onFiles = [
  fc.tuple(path, number).map(([p, n]) => `mkdir -p "$(dirname ${p})"; echo "$TAG ${n}" > ${p}`),
  fc.tuple(path, number).map(([p, n]) => `echo "more $TAG ${n}" >> ${p}`),
  fc.tuple(path, number).map(([p, n]) => `printf '\\0\\377%s' "$TAG ${n}" > ${p}`),
  path.map((p) => `rm -rf ${p}`),
  fc.tuple(path, path).map(([from, to]) => `mkdir -p "$(dirname ${to})"; mv -f ${from} ${to}`),
  fc.tuple(path, path).map(([from, to]) => `cp -r ${from} ${to}`),
  path.map((p) => `rm -rf ${p}; mkdir -p ${p}; echo "$TAG in" > ${p}/inner.txt`),
  fc.tuple(path, path).map(([p, to]) => `rm -rf ${p}; ln -s ${to} ${p}`),
  fc.tuple(path, fc.constantFrom("+x", "-x", "600", "444")).map(([p, mode]) => `chmod ${mode} ${p}`),
  path.map((p) => `old=$(stat -c %y ${p}); echo "$TAG quiet" > ${p}; touch -d "$old" ${p}`),
  fc.constantFrom("new*", "*.txt", "!x.log", "!build/", "src/").map((rule) => `echo '${rule}' >> .gitignore`),
  fc.constantFrom("new*", "*").map((rule) => `echo '${rule}' >> .git/info/exclude`),
];

const onGit = [
  fc.constant("git add -A"),
  path.map((p) => `git add -f ${p}`),
  path.map((p) => `git rm -rq --cached ${p}`),
  path.map((p) => `git update-index --skip-worktree ${p}`),
  path.map((p) => `git update-index --assume-unchanged ${p}`),
  path.map((p) => `git add -N ${p}`),
  number.map((n) => `git commit -qam "$TAG ${n}"`),
  number.map((n) => `git commit -q --allow-empty -m "$TAG empty ${n}"`),
  fc.constant(`git commit -q --amend -m "$TAG amended"`),
  branch.map((b) => `git branch ${b}`),
  branch.map((b) => `git checkout -q -b ${b}`),
  branch.map((b) => `git checkout -q ${b}`),
  branch.map((b) => `git branch -D ${b}`),
  fc.constant("git checkout -q --detach"),
  fc.constant("git checkout -q v1"),
  fc.constant(`git stash push -q -m "$TAG"`),
  fc.constant(`git stash push -q -u -m "$TAG"`),
  fc.constant("git stash pop -q"),
  fc.constant("git stash drop -q"),
  number.map((n) => `git tag -f "tag-${n}"`),
  number.map((n) => `git tag -a -m "$TAG" "note-${n}"`),
  branch.map((b) => `git merge -q -m "$TAG" ${b}`),
  branch.map((b) => `git rebase -q ${b}`),
  fc.constant("git reset -q --hard HEAD~1"),
  fc.constant("git reset -q --soft v1"),
  fc.constant("git cherry-pick origin/feature"),
  fc.constant("git checkout -q --orphan orphan"),
  branch.map((b) => `git push -q origin HEAD:refs/heads/pushed-${b}`),
  fc.constant("git push -q origin HEAD:main"),
  fc.constant("git gc -q --prune=now"),
  fc.constant("git pack-refs --all"),
  fc.constant("rm -f .git/index"),
  fc.constant("git config core.autocrlf true; git config core.fileMode false"),
  fc.constant("git sparse-checkout set --cone dir"),
  fc.constant("git update-index --split-index"),
  number.map((n) => `git init -q nested-${n}; echo "$TAG n" > nested-${n}/n.txt`),
  number.map(
    (n) => `git init -q nested-${n} && cd nested-${n} && echo "$TAG c" > c.txt && git add c.txt && git commit -qm c`,
  ),
];

export const ends = ["release", "discard", "expiry", "reclaim", "reset"] as const;
export type End = (typeof ends)[number];

export interface Sequence {
  readonly lines: readonly string[];
  readonly end: End;
}

export const sequence: fc.Arbitrary<Sequence> = fc.record({
  lines: fc.array(fc.oneof(...onFiles, ...onGit), { minLength: 1, maxLength: 14 }),
  end: fc.constantFrom(...ends),
});

/** Each in a shell of its own, at the top. */
export function scriptOf({ lines }: Sequence, tag: string): string {
  return [`TAG='${tag}'`, ...lines.map((line) => `( ${line} ) >/dev/null 2>&1 || true`)].join("\n");
}
