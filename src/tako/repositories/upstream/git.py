"""The one module that runs git.

Three kinds of git, by what may be believed:

- `run_git`: in repositories that tako made. No config but their own and tako's; no hook, no file system
  monitor, no filter.
- `fetch_git`: the same, fetching from a registered URL. Over the network with the user's own config and
  environment (credential helpers, proxies, ssh), never with a question on a terminal; from a local path with
  no config of the user's at all.
- `head_commit` and its like: in the user's own checkout, which is trusted as the user's commands are.

Nothing here ever runs in a checkout that was put into the cache by hand, nor in a workspace. A
failure is a `MachineError` with git's last lines, without credentials.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tako.errors import MachineError
from tako.layout.names import NOTHING
from tako.repositories.upstream.environment import closed_environment, network_environment
from tako.repositories.upstream.network import NetworkError, is_passing
from tako.repositories.upstream.urls import is_local, without_credentials
from tako.system.process.programs import Ended, run_program
from tako.values import value

_LAST_LINES = 6
#: Characters of each: the other side may send a line without end.
_LINE_MAX = 500
_LOCAL_TIMEOUT_S = 600.0
FETCH_TIMEOUT_S = 1800.0
#: What git says where there is no repository, not of one that is broken, and before version 2.30 of a remote
#: that there is not.
_ABSENT = (b"fatal: not a git repository (or any", b"fatal: No such remote")
#: git-remote(1), "EXIT STATUS".
_NO_SUCH_REMOTE = 2
#: git-config(1): of a key that is not there.
_NOT_SET = 1
# `maintenance` and `gc` would rewrite packs that snapshots read through alternates.
_OPTIONS = (
    f"core.hooksPath={NOTHING}",
    "core.fsmonitor=false",
    # Packs are synced when they come, loose objects are not.
    "fetch.unpackLimit=1",
    "init.defaultBranch=main",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.ext.allow=never",
    "uploadpack.packObjectsHook=",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "advice.detachedHead=false",
)


# The user's defaults for attributes and excludes are read even without a global config.
_CLOSED_OPTIONS = (
    f"core.attributesFile={NOTHING}",
    f"core.excludesFile={NOTHING}",
    "core.logAllRefUpdates=false",
)


def _words(options: Sequence[str]) -> list[str]:
    return [word for option in options for word in ("-c", option)]


def _failure(arguments: Sequence[str], ended: Ended, timeout_s: float) -> MachineError:
    lines = ended.stderr.decode(errors="replace").splitlines()
    said = [line[:_LINE_MAX] for line in lines if line.strip()][-_LAST_LINES:]
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    if ended.timed_out:
        said.append(f"it did not end within {timeout_s:g} s")
    text = "\n".join(["", *said]) if len(said) > 1 else f" {''.join(said)}"
    return MachineError(without_credentials(f"git {command} failed (exit {ended.returncode}):{text}"))


def _run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    cwd: Path | None = None,
    stdin: bytes = b"",
    timeout_s: float = _LOCAL_TIMEOUT_S,
    meanwhile: Callable[[], None] | None = None,
) -> Ended:
    command = ["git", *_words(_OPTIONS), *arguments]
    try:
        return run_program(
            command,
            environment=environment,
            cwd=cwd,
            stdin=stdin,
            timeout_s=timeout_s,
            meanwhile=meanwhile,
        )
    except FileNotFoundError as error:
        message = "git is not installed, or not in PATH" if not cwd or cwd.is_dir() else f"{cwd} is gone"
        raise MachineError(message) from error
    except OSError as error:
        message = f"git cannot be started: {error.strerror}"
        raise MachineError(message) from error


def run_git(  # noqa: PLR0913 - all that differs between its callers
    arguments: Sequence[str],
    *,
    git_dir: Path | None = None,
    work_tree: Path | None = None,
    index: Path | None = None,
    stdin: bytes = b"",
    check: bool = True,
    absent: int = 0,
    meanwhile: Callable[[], None] | None = None,
) -> Ended:
    """Run git in a repository that tako made, with no config but its own.

    Raises `MachineError` if it fails and `check` is true, is missing, or takes more than ten minutes. The
    exit code `absent` is no failure: it means that there is nothing. `meanwhile` is called several times a
    second, and ends git by raising.
    """
    environment = closed_environment()
    for name, path in (("GIT_DIR", git_dir), ("GIT_WORK_TREE", work_tree), ("GIT_INDEX_FILE", index)):
        if path is not None:
            environment[name] = str(path)
    words = [*_words(_CLOSED_OPTIONS), *arguments]
    ended = _run(words, environment, cwd=work_tree or git_dir, stdin=stdin, meanwhile=meanwhile)
    if check and ended.returncode not in (0, absent):
        raise _failure(arguments, ended, _LOCAL_TIMEOUT_S)
    return ended


def fetch_git(arguments: Sequence[str], url: str, git_dir: Path, config: Path) -> Ended:
    """Run a git command that reads from `url` on behalf of the mirror `git_dir`.

    Raises `MachineError`, which is a `NetworkError` where another attempt may help.

    `config` is a file of tako's that makes git read local repositories of any owner. It has to be
    a file: git forgets `-c safe.directory` before it starts `upload-pack` (measured with 2.39.5).
    """
    environment = closed_environment(config) if is_local(url) else network_environment()
    environment["GIT_DIR"] = str(git_dir)
    ended = _run(arguments, environment, cwd=git_dir, timeout_s=FETCH_TIMEOUT_S)
    if ended.returncode:
        failure = _failure(arguments, ended, FETCH_TIMEOUT_S)
        if not is_local(url) and is_passing(ended.stderr):
            raise NetworkError(failure.message) from failure
        raise failure
    return ended


def _own_checkout(path: Path, *arguments: str) -> Ended:
    """Run git in the user's own checkout, with the user's config, whoever owns it (root in a container)."""
    trusted = ("-c", "safe.directory=*")
    return _run([*trusted, "-C", str(path), *arguments], network_environment())


@value
class CheckoutState:
    """Return the state of the user's checkout, with empty texts for missing parts."""

    commit: str = ""
    branch: str = ""
    origin: str = ""
    #: SHA-256 (hex) of what differs between HEAD and the tracked files; empty if nothing does.
    tracked_changes: str = ""


def checkout_state(path: Path) -> CheckoutState:
    """Read the user's checkout with as few starts of git as can be; all empty outside a repository.

    Raises `MachineError` if git cannot read it.
    """
    status = ("status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=dirty")
    said = _said(path, *status)
    if not said:
        return CheckoutState()
    lines = said.splitlines()
    heads = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    commit, branch = heads.get("branch.oid", ""), heads.get("branch.head", "")
    changed = any(not line.startswith("# ") for line in lines)
    return CheckoutState(
        commit="" if commit == "(initial)" else commit,
        branch="" if branch == "(detached)" else branch,
        origin=origin_url(path),
        tracked_changes=tracked_changes_digest(path) if changed else "",
    )


def _said(path: Path, *arguments: str, absent: int = 0) -> str:
    """Return git's output in the user's checkout; empty outside a repository, and for the exit code `absent`.

    Raises `MachineError` for every other failure: a failure of git does not mean that there is nothing.
    """
    ended = _own_checkout(path, *arguments)
    if ended.returncode == 0:
        return ended.stdout.decode(errors="replace").strip()
    if ended.returncode == absent or any(said in ended.stderr for said in _ABSENT):
        return ""
    raise _unreadable(path, arguments, ended)


def _unreadable(path: Path, arguments: Sequence[str], ended: Ended) -> MachineError:
    message = f"{path}: {_failure(arguments, ended, _LOCAL_TIMEOUT_S).message}"
    return MachineError(message, hint=f"`git -C {shlex.quote(str(path))} status` shows what is wrong")


def head_commit(path: Path) -> str:
    """The commit checked out in the user's checkout; empty if it is no repository or has no commit."""
    return _said(path, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", absent=1)


def origin_url(path: Path) -> str:
    """The URL that git fetches `origin` from; empty if there is no such remote."""
    return _said(path, "remote", "get-url", "origin", absent=_NO_SUCH_REMOTE)


def tracked_changes_digest(path: Path) -> str:
    """SHA-256 (hex) of what differs between HEAD and the tracked files; empty if nothing does.

    Also empty outside a repository. Raises `MachineError` if git cannot compare.
    """
    head = head_commit(path)
    if not head:
        return ""
    arguments = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", "--full-index")
    ended = _own_checkout(path, *arguments, "--ignore-submodules=dirty", head, "--", ":/")
    if ended.returncode:
        raise _unreadable(path, arguments, ended)
    return hashlib.sha256(ended.stdout).hexdigest() if ended.stdout else ""


def identity() -> tuple[str, str]:
    """The user's name and email as git is configured; empty where nothing is set.

    Raises `MachineError` if git cannot read its configuration.
    """
    return _setting("user.name"), _setting("user.email")


def _setting(key: str) -> str:
    arguments = ("config", "--get", key)
    ended = _run(arguments, network_environment())
    if ended.returncode not in (0, _NOT_SET):
        raise _failure(arguments, ended, _LOCAL_TIMEOUT_S)
    return ended.stdout.decode(errors="replace").strip()
