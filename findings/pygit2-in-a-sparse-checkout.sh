#!/usr/bin/env bash
# pygit2 1.21.0 (libgit2) beside dulwich 1.2.21 and git
#
# In a sparse checkout with a clean status, pygit2's status() reports every file outside the checked-out part as deleted,
# and `index.add_all()` stages these deletions: the next commit removes them from the repository.
#
# A good engineer would guess: nothing to report and nothing to stage, as git and dulwich say.
# Seen: git '' and dulwich nothing before; pygit2 3 deleted; after add_all() and write() git shows 3 staged deletions.
#
# Why it matters: a tool that edits one directory of many repositories checks out only that directory, and its commit
# empties the rest. No error, no warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check pygit2==1.21.0 dulwich==1.2.21

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
git init -q -b main project
mkdir project/docs project/code
touch project/docs/page project/code/one project/code/two project/code/three
git -C project add .
git -C project commit -qm "first"
git -C project sparse-checkout set --cone docs
cat > ask.py <<'PY'
import pygit2
from dulwich import porcelain

status = porcelain.status("project")
print("dulwich", status.unstaged, status.untracked)
repository = pygit2.Repository("project")
print("pygit2", {path: flag.name for path, flag in sorted(repository.status().items())})
repository.index.add_all()
repository.index.write()
PY
{
  echo "git '$(git -C project status --porcelain)'"
  venv/bin/python ask.py
  git -C project status --porcelain
} | tee seen
diff - seen <<'EXPECTED'
git ''
dulwich [] []
pygit2 {'code/one': 'WT_DELETED', 'code/three': 'WT_DELETED', 'code/two': 'WT_DELETED'}
D  code/one
D  code/three
D  code/two
EXPECTED
