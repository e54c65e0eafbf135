/** Owns: mischief with files of the working tree: kinds, modes, links, times, names, amounts. */
import { type Mischief, sh } from "./mischief.js";

const isRoot = `test "$(id -u)" = 0`;

export const files: readonly Mischief[] = [
  {
    name: "a tracked directory replaced by a symlink to a canary",
    script: sh`rm -r dir src; ln -s "$OUT/dir" dir; ln -s "$OUT/src" src`,
  },
  {
    name: "a directory deep below replaced by a symlink to a canary",
    script: sh`rm -r dir/deep src/lib; ln -s "$OUT/dir/deep" dir/deep; ln -s ../../.. src/lib`,
  },
  {
    name: "a tracked file replaced by a symlink to a canary",
    script: sh`rm a.txt crlf.txt; ln -s "$OUT/file.txt" a.txt; ln -s /dev/zero crlf.txt`,
  },
  {
    name: "a symlink pointed elsewhere, and one made a directory",
    script: sh`ln -sfn "$OUT/dir" link; rm dirlink; mkdir dirlink; echo x > dirlink/c.txt`,
  },
  {
    name: "symlinks that loop, dangle and lead up",
    script: sh`ln -s loop loop; ln -s /nowhere dangling; ln -s .. up; ln -s . here; ln -s "$OUT" src/out`,
  },
  {
    name: "a tracked file replaced by a pipe",
    script: sh`rm a.txt src/main.txt; mkfifo a.txt src/main.txt new-pipe build.log`,
  },
  {
    name: "sockets",
    script: sh`perl -MIO::Socket::UNIX -e 'for (@ARGV) { unlink; IO::Socket::UNIX->new(Local => $_, Listen => 1) or die $! }' b.txt dir/s "s.log"`,
  },
  { name: "devices", script: sh`rm a.txt; mknod a.txt c 1 5; mknod src/zero c 1 5; mknod full c 1 7`, needs: isRoot },
  {
    name: "a tracked file replaced by a directory, and a directory by a file",
    script: sh`rm a.txt; mkdir -p a.txt/deep; touch a.txt/deep/x; rm -r dir; echo file > dir`,
  },
  {
    name: "a tracked file that is a hard link to a canary",
    script: sh`ln -f "$OUT/file.txt" a.txt; ln -f "$OUT/dir/inner.txt" src/main.txt`,
  },
  {
    name: "a tracked file with a second name outside",
    script: sh`ln a.txt "$LANE/second-$$"; ln src/main.txt src/second; ln run.sh "$LANE/run-$$"`,
  },
  {
    name: "untracked hard links to canaries and to git's own files",
    script: sh`ln "$OUT/file.txt" canary; ln .git/HEAD head; ln .git/config src/config; ln .git/index index`,
  },
  {
    name: "directories without permissions",
    script: sh`mkdir -p locked/in; touch locked/in/f; chmod 000 locked/in; chmod 000 locked dir/deep`,
  },
  {
    name: "read-only directories, as module caches have",
    script: sh`mkdir -p build/mod/a/b; touch build/mod/a/b/f; chmod -R a-w build; touch dir/untracked; chmod -R a-w dir src`,
  },
  {
    name: "setuid, setgid and sticky bits",
    script: sh`chmod g+s dir src; chmod +t docs; chmod u+s run.sh; chmod 7777 dir/deep; chmod 2755 . `,
  },
  {
    name: "modes of files",
    script: sh`chmod 777 a.txt; chmod 600 b.txt; chmod 000 crlf.txt; chmod -x run.sh; chmod 755 data.bin; chmod 711 src; chmod 700 .`,
  },
  {
    name: "files of another user",
    script: sh`chown 65534:65534 a.txt src/main.txt dir .; mkdir theirs; touch theirs/f; chown -R 65534 theirs; chmod 700 theirs`,
    needs: isRoot,
  },
  {
    name: "an edit of the same size whose time was put back",
    script: sh`old=$(stat -c %y a.txt); printf 'A2\n' > a.txt; touch -d "$old" a.txt`,
  },
  {
    name: "an edit in the same clock tick",
    script: sh`for n in 1 2 3 4 5 6 7 8; do printf "$n\n" > b.txt; git update-index --refresh >/dev/null || true; done; printf 'B\n' > b.txt; printf 'MAIN\n' > src/main.txt`,
  },
  {
    name: "times in the future and before all time",
    script: sh`touch -d '2200-01-01' a.txt dir; touch -d '1902-01-01' b.txt src; touch -d @0 run.sh; printf 'x\n' > crlf.txt; touch -d '2200-01-01' crlf.txt .git/index`,
  },
  {
    name: "a file written anew with its very content",
    script: sh`cp a.txt "$LANE/a-$$"; cp "$LANE/a-$$" a.txt; cat b.txt > new; mv new b.txt; sed -i 's/x/x/' docs/Case.txt`,
  },
  {
    name: "a file written through a mapping",
    script: sh`perl -e 'open F, "+<", "src/main.txt" or die; syswrite F, "M"; close F'; touch -r src/more.txt src/main.txt`,
  },
  {
    name: "a path of thousands of bytes",
    script: sh`perl -e '$n = "d" x 200; for (1..19) { mkdir $n or die $!; chdir $n or die $! } open F, ">", "f" or die'`,
  },
  {
    name: "a path longer than any call takes",
    script: sh`perl -e '$n = "d" x 250; for (1..60) { mkdir $n or die $!; chdir $n or die $! } open F, ">", "f" or die; mkdir "x"'`,
    undo: sh`find "$DATA/workspaces/$(basename "$LANE")" -mindepth 2 -maxdepth 2 -name 'ddd*' -exec rm -rf {} +`,
    mayQuarantine: "files that could not be examined",
  },
  {
    name: "an ignored path longer than any call takes",
    script: sh`mkdir build; cd build; perl -e '$n = "d" x 250; for (1..60) { mkdir $n or die $!; chdir $n or die $! } open F, ">", "f" or die; mkdir "x"'`,
  },
  {
    name: "directories nested hundreds deep",
    script: sh`perl -e 'for (1..400) { mkdir "d" or die $!; chdir "d" or die $! } open F, ">", "f" or die'`,
  },
  {
    name: "names that are no UTF-8, with newlines, dashes, quotes and spaces",
    script: sh`touch $'bad-\xff\xfe' $'new\nline' -- -rf --help '"quoted"' ' leading' 'trailing ' '\\' $'tab\t' '*' '?' '[a]' ':(top)x'; mkdir $'dir/\xe9'; touch $'dir/\xe9/\xff' $'a\001b'; mv a.txt $'a\xff.txt'`,
  },
  {
    name: "names of 255 bytes and of one",
    script: sh`touch "$(printf 'n%.0s' $(seq 255))" "src/$(printf 'm%.0s' $(seq 251)).log" x _ '~'`,
  },
  {
    name: "a case-only rename",
    script: sh`mv docs/Case.txt docs/case.txt; git mv -f src/main.txt src/MAIN.txt; mkdir Docs SRC; touch Docs/x SRC/main.txt`,
  },
  { name: "Unicode in another normal form", script: sh`mv $'docs/\xc3\xa9.txt' $'docs/e\xcc\x81.txt'` },
  {
    name: "10,000 ignored files",
    script: sh`mkdir -p build/a build/b; cd build/a; seq 5000 | xargs touch; cd ../b; seq 5000 | xargs touch; touch ../../x.log`,
  },
  {
    name: "ignored files that git clean would need force for",
    script: sh`mkdir -p node_modules/m build/o; git init -q node_modules/m/r; touch node_modules/m/i.js build/o/x.log deep.log dir/y.log; ln -s "$OUT" build/out`,
  },
  {
    name: "deletions, staged ones, and everything gone",
    script: sh`git rm -q -r --cached src; rm -r docs dir; git rm -q b.txt; rm -f run.sh`,
  },
  { name: "every file gone but .git", script: sh`find . -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +` },
  { name: "the workspace's directory gone", script: sh`cd ..; rm -rf "$WORK"` },
  {
    name: "the workspace's directory replaced by a symlink to a canary",
    script: sh`mv "$WORK" "$LANE/taken-$$"; ln -s "$OUT" "$WORK"`,
  },
  { name: "the workspace's directory replaced by a file", script: sh`cd ..; rm -rf "$WORK"; echo file > "$WORK"` },
  {
    name: "exec bits turned round and committed",
    script: sh`chmod +x a.txt; chmod -x run.sh; git add -A; git commit -qm modes`,
  },
  {
    name: "work of all kinds, committed and not, on a branch pushed nowhere",
    script: sh`git checkout -q -b mine; echo 1 > one; git add one; git commit -qm one; echo 2 >> one; echo 3 > three; git add three; echo 4 > four; echo 5 >> a.txt`,
  },
  {
    name: "extended attributes",
    script: sh`python3 -c 'import os
for p in ("a.txt", "src/main.txt", "dir", "src", "."): os.setxattr(p, "user.evil", b"1")'`,
    needs: `python3 -c 'import os; open("probe","w"); os.setxattr("probe", "user.a", b"1"); os.remove("probe")'`,
  },
  {
    name: "a default ACL that gives later files to others",
    script: sh`python3 -c 'import os, struct
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i) for t, p, i in ((1, 7, 0xffffffff), (2, 7, 65534), (4, 7, 0xffffffff), (16, 7, 0xffffffff), (32, 7, 0xffffffff)))
for p in ("dir", "src", "."): os.setxattr(p, "system.posix_acl_default", acl)'; rm src/main.txt dir/c.txt`,
    needs: `python3 -c 'import os; open("probe","w"); os.setxattr("probe", "user.a", b"1"); os.remove("probe")'`,
  },
  { name: "a sparse file of a terabyte that is ignored", script: sh`truncate -s 1T huge.log` },
  {
    name: "an immutable file",
    script: sh`echo i > immutable; chattr +i immutable`,
    undo: sh`find "$DATA/workspaces" "$DATA/trash" -name immutable -exec chattr -i {} + || true`,
    needs: `${isRoot} && touch probe && chattr +i probe && chattr -i probe && rm probe`,
    mayQuarantine: "cannot be changed or removed",
  },
  {
    name: "an append-only directory",
    script: sh`mkdir -p kept; echo i > kept/i; chattr +a kept`,
    undo: sh`find "$DATA/workspaces" "$DATA/trash" -name kept -exec chattr -a {} + || true`,
    needs: `${isRoot} && touch probe && chattr +i probe && chattr -i probe && rm probe`,
    mayQuarantine: "cannot be changed or removed",
  },
];
