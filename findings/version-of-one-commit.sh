#!/usr/bin/env bash
# setuptools-scm 10.3.4, versioningit 3.3.0, dunamai 1.26.5
#
# One commit carries an annotated tag v1.0.0rc1 and the lightweight tag v1.0.0 that was set later, as hosting pages and
# `git tag NAME` do. setuptools-scm and versioningit build 1.0.0rc1, dunamai builds 1.0.0.
#
# A good engineer would guess: all three say 1.0.0: it is the newer tag and the higher version.
# Seen: 1.0.0rc1, 1.0.0rc1, 1.0.0. The first two ask `git describe --tags`, where an annotated tag wins over a lightweight one.
#
# Why it matters: the release workflow announces v1.0.0 and the build in the same checkout publishes a release candidate.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check setuptools-scm==10.3.4 versioningit==3.3.0 dunamai==1.26.5

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
git init -q -b main project
cd project
printf '[tool.setuptools_scm]\n[tool.versioningit]\n' > pyproject.toml
git add .
git commit -qm "first"
GIT_COMMITTER_DATE="2026-01-01T00:00:00Z" git tag -a v1.0.0rc1 -m "candidate"
git tag v1.0.0
{
  echo "setuptools-scm $(../venv/bin/python -m setuptools_scm 2>/dev/null)"
  echo "versioningit $(../venv/bin/versioningit . 2>/dev/null)"
  echo "dunamai $(../venv/bin/dunamai from git)"
} | tee ../seen
diff - ../seen <<'EXPECTED'
setuptools-scm 1.0.0rc1
versioningit 1.0.0rc1
dunamai 1.0.0
EXPECTED
