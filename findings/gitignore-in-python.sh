#!/usr/bin/env bash
# pathspec 1.1.1 (its GitIgnoreSpec) beside dulwich 1.2.21 and git
#
# A .gitignore excludes a directory and names an exception inside it. git never looks into an excluded directory, so the
# exception has no effect, and dulwich says the same. GitIgnoreSpec, the class that copies git's behaviour, takes the file
# as not ignored. With `out/**/` it is the other way: GitIgnoreSpec ignores files right below out/ that git does not.
#
# A good engineer would guess: GitIgnoreSpec answers like `git check-ignore` for each path.
# Seen: see EXPECTED.
#
# Why it matters: build backends, formatters and packers choose files with pathspec. A file that git ignores, and that
# nobody reviews, gets into a package; a file that git tracks stays out of it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check pathspec==1.1.1 dulwich==1.2.21

cat > ask.py <<'PY'
import subprocess
from pathlib import Path

from dulwich.ignore import IgnoreFilter
from pathspec import GitIgnoreSpec

subprocess.run(["git", "init", "-q", "repository"], check=True)
for lines, path in [
    (["out", "!out/keep.txt"], "out/keep.txt"),
    (["/out/**", "!/out/**/keep.txt"], "out/sub/keep.txt"),
    (["out/**/"], "out/file.txt"),
]:
    Path("repository/.gitignore").write_text("\n".join(lines) + "\n")
    git = subprocess.run(["git", "-C", "repository", "check-ignore", "-q", "--no-index", path], check=False).returncode == 0
    dulwich = bool(IgnoreFilter([line.encode() for line in lines]).is_ignored(path))
    print(*lines, path, "git", git, "dulwich", dulwich, "pathspec", GitIgnoreSpec.from_lines(lines).match_file(path))
PY
venv/bin/python ask.py | tee seen
diff - seen <<'EXPECTED'
out !out/keep.txt out/keep.txt git True dulwich True pathspec False
/out/** !/out/**/keep.txt out/sub/keep.txt git True dulwich True pathspec False
out/**/ out/file.txt git False dulwich False pathspec True
EXPECTED
