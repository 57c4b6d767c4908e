"""The environment tako was started with, and the poorer ones that programs get which tako starts for itself.

    user's own ─┬─ helper_environment ─▶ forkserver, resource tracker, probes: Python of tako's own
                ├─ plain_environment ──▶ git in repositories that tako made
                └─ (repositories.git) ─▶ git over the network and in the user's checkout

CPython starts the forkserver and the resource tracker with whatever `os.environ` holds at that
moment. So the root process puts the user's environment aside once and leaves in `os.environ` only
what a helper may see: no secrets, and nothing that imports from a directory of the user's.

What a repository chooses (`env` of a tako.yml, `$TAKO_ENV`) is in none of these: it would decide how a
program outside of the sandbox is loaded, found or configured. Only `sandbox` hands it on, to the step behind
the wall.
`tests/test_program_starts.py` names every start of a program and what it gets.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tako.system import crash_points

_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
_SEARCHED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
#: The resource tracker's warning about the semaphores of a killed root would help nobody.
_SAFE = {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "ignore:resource_tracker"}
#: How coverage.py finds its configuration in subprocesses (its documentation, "Subprocesses"), and what
#: tests of crashes use.
_FOR_TESTS = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "COVERAGE_FILE", crash_points.VARIABLE)

#: Variables that name files or directories with certificates of authorities.
AUTHORITIES = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO", "PIP_CERT", "AWS_CA_BUNDLE",
)  # fmt: skip
#: By these a git tells what it starts (hooks, aliases, ...) where its own repository lies: what
#: `git rev-parse --local-env-vars` names, and two more that hold for one repository alone.
LOCATES_REPOSITORY = frozenset((
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_PREFIX", "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR", "GIT_INTERNAL_SUPER_PREFIX",
    # While this is set no git may change a ref, of whatever repository (git-receive-pack(1)).
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
))  # fmt: skip

_put_aside: dict[str, str] | None = None


def user_environment() -> Mapping[str, str]:
    """The environment in which the user started tako."""
    return os.environ if _put_aside is None else _put_aside


def user_home(environment: Mapping[str, str]) -> Path:
    """The user's home: $HOME, else that of the password file."""
    return Path(environment.get("HOME") or os.path.expanduser("~"))


def user_homes(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """$HOME, and the home in the password file, which may be another one."""
    homes = [user_home(environment)]
    with suppress(KeyError):
        homes.append(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return tuple(dict.fromkeys(home for home in homes if home != home.parent))


def put_aside() -> None:
    """Reduce `os.environ` to what helper processes may see; the second call does nothing."""
    global _put_aside  # noqa: PLW0603 - there is one environment in a process, and this module owns it
    if _put_aside is None:
        _put_aside = dict(os.environ)
        helpers = helper_environment(_put_aside)
        os.environ.clear()
        os.environ.update(helpers)


def withhold(names: Iterable[str], *, spare: Iterable[str] = ()) -> dict[str, str]:
    """Return those of these variables that are set, and take them out of `user_environment`, but for `spare`.

    So nothing that tako runs for itself (git, bubblewrap's probes) inherits them.
    """
    given = os.environ if _put_aside is None else _put_aside
    taken = {name: given[name] for name in names if name in given}
    for name in taken.keys() - set(spare):
        del given[name]
    return taken


def plain_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that every program needs: a fixed list."""
    kept = {name: environment[name] for name in (*_KEPT, *_FOR_TESTS) if name in environment}
    return with_absolute_paths(kept)


def with_absolute_paths(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the same, without paths in which programs, libraries and modules are found by accident.

    An empty or relative part is a program's working directory, which for git holds a repository's files.
    """
    absolute = {name: absolute_parts(environment[name]) for name in _SEARCHED if name in environment}
    kept = {name: value for name, value in environment.items() if name not in _SEARCHED}
    return kept | {name: value for name, value in absolute.items() if value}


def absolute_parts(paths: str) -> str:
    """Return a PATH without parts that depend on the working directory."""
    return os.pathsep.join(path for path in paths.split(os.pathsep) if os.path.isabs(path))


def helper_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of tako's own helper processes, which are Python."""
    paths = with_absolute_paths({name: environment[name] for name in ("PYTHONPATH",) if name in environment})
    return plain_environment(environment) | paths | _SAFE
