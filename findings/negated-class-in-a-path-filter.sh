#!/usr/bin/env bash
# micromatch 4.0.8 and picomatch 4.0.7 beside minimatch 11.0.9 (npm), and git
#
# `[!a].py` means "one character that is not a" in the shell, in git, in Python's fnmatch and in minimatch. micromatch and
# picomatch read it as "one of ! and a": they match a.py and not b.py, the opposite, without an error.
#
# A good engineer would guess: all glob libraries know the negated class of POSIX.
# Seen: a.py: micromatch and picomatch true, minimatch and git false; b.py the other way round.
#
# Why it matters: path filters of linters, hooks and monorepo tools (micromatch is under many of them) pick the files that
# the same pattern leaves out in git: the wrong half of the repository is checked. `[^a]` works in all four.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --prefix "$folder" micromatch@4.0.8 picomatch@4.0.7 minimatch@11.0.9

cat > match.js <<'JS'
const { minimatch } = require("minimatch");
const picomatch = require("picomatch");
const micromatch = require("micromatch");
const [pattern, path] = process.argv.slice(2);
console.log("micromatch", micromatch.isMatch(path, pattern), "picomatch", picomatch.isMatch(path, pattern),
  "minimatch", minimatch(path, pattern));
JS
git init -q repository
touch repository/a.py repository/b.py
git -C repository add .
for pattern in '[!a].py' '[^a].py'; do
  for path in a.py b.py; do
    if git -C repository ls-files ":(glob)$pattern" | grep -qx "$path"; then git=true; else git=false; fi
    echo "$pattern $path $(node match.js "$pattern" "$path") git $git"
  done
done | tee seen
diff - seen <<'EXPECTED'
[!a].py a.py micromatch true picomatch true minimatch false git false
[!a].py b.py micromatch false picomatch false minimatch true git true
[^a].py a.py micromatch false picomatch false minimatch false git false
[^a].py b.py micromatch true picomatch true minimatch true git true
EXPECTED
