"""What a repository's steps see and write beyond their workspace, by the user's settings.

In: the settings, a repository, its workflow. Out: mounts. A tako.yml may only ask under `sandbox:`; the
user answers for that repository under `sandbox.repositories` of config.yml. What is not granted is a
`UsageError` before anything of the run started. A link is no grant: neither one that a tako.yml asks for, nor
one that a step may have put into a directory that it may write.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, product
from pathlib import Path

from tako.config.schema import Sandbox, Settings, Workflow
from tako.errors import UsageError
from tako.repositories.reference import Repository, parse_repository
from tako.sandbox.policy import Mount
from tako.system.storage.links import led_out_of
from tako.system.user_environment import user_home


def extra_mounts(
    settings: Settings,
    environment: Mapping[str, str],
    repository: Repository,
    workflow: Workflow,
    *,
    own: tuple[Path, ...] = (),
    private: str = "",
) -> tuple[Mount, ...]:
    """The mounts of one run; paths that do not exist are left out, as a step would find them missing anyway.

    `own` are directories of tako itself, which no step may write. Private directories lie in `private`, with
    sockets and secrets of tako's processes: no step may see them all.
    Raises `UsageError` naming what the tako.yml asks for and config.yml does not grant.
    """
    home = user_home(environment)
    asked = workflow.sandbox or Sandbox()
    granted = _granted(settings, repository)
    _check(asked.read, (*granted.read, *granted.write), "read", repository, home)
    _check(asked.write, granted.write, "write", repository, home)
    everybody = settings.sandbox
    wanted = [(path, False) for path in (*everybody.read, *asked.read)]
    wanted += [(path, True) for path in (*everybody.write, *asked.write)]
    _check_own((path for path, writable in wanted if writable), home, own)
    _check_private((path for path, _ in wanted), home, private)
    return tuple(_existing(wanted, home, written_by_steps(settings, environment)))


def written_by_steps(settings: Settings, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The directories of the user's that steps of any repository may write; absolute paths."""
    home, everybody = user_home(environment), settings.sandbox
    granted = (granted.write for granted in everybody.repositories.values())
    return tuple(str(_absolute(path, home)) for path in chain(everybody.write, *granted))


def tool_caches(
    settings: Settings, environment: Mapping[str, str], on_note: Callable[[str], None]
) -> tuple[tuple[Path, str], ...]:
    """The user's caches that each run sees with changes of its own, each with its place below HOME.

    One that a link leads out of a directory that steps may write is left out, and `on_note` gets why.
    """
    home = user_home(environment)
    written = written_by_steps(settings, environment)
    found = {path: led_out_of(str(home / path), written) for path in settings.sandbox.tool_caches}
    for path in (path for path, out in found.items() if out):
        on_note(f"the tool cache {_led(f'~/{path}', found[path])}; steps do not see it")
    return tuple((home / path, path) for path, out in found.items() if not out and (home / path).is_dir())


def _granted(settings: Settings, repository: Repository) -> Sandbox:
    for name, granted in settings.sandbox.repositories.items():
        if parse_repository(name).key == repository.key:
            return granted
    return Sandbox()


def _check(
    asked: tuple[str, ...], granted: tuple[str, ...], how: str, repository: Repository, home: Path
) -> None:
    allowed = [_absolute(path, home) for path in granted]
    for path in asked:
        if not any(_is_below(_absolute(path, home), top) for top in allowed):
            message = (
                f"its tako.yml asks to {how} {path}, which config.yml does not grant to {repository.text}"
            )
            hint = (
                f"sandbox: {{repositories: {{{repository.text}: {{{how}: [{path}]}}}}}} in config.yml would"
            )
            raise UsageError(message, hint=hint)


def _check_own(written: Iterable[str], home: Path, own: Iterable[Path]) -> None:
    """Raise `UsageError` for a path by which steps could change what tako itself keeps and obeys."""
    for text, one in product(written, own):
        path, real = (Path(os.path.realpath(found)) for found in (_absolute(text, home), one))
        if path.is_relative_to(real) or real.is_relative_to(path):
            message = f"no step may write {text}: {one} is tako's own, with settings, cache or journals"
            hint = "let config.yml name directories beside it under `sandbox`"
            raise UsageError(message, hint=hint)


def _check_private(wanted: Iterable[str], home: Path, private: str) -> None:
    for text in wanted if private else ():
        if Path(os.path.realpath(private)).is_relative_to(os.path.realpath(_absolute(text, home))):
            message = f"no step may see all of {text}: tako has its private directories in {private}"
            hint = f"let config.yml name directories in {text}, or set TMPDIR to a directory elsewhere"
            raise UsageError(message, hint=hint)


def _is_below(path: Path, top: Path) -> bool:
    """Whether a path lies below another one, wherever links in there lead."""
    return path.is_relative_to(top) and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(top))


def _existing(wanted: list[tuple[str, bool]], home: Path, written: tuple[str, ...]) -> Iterator[Mount]:
    for text, writable in wanted:
        path = _absolute(text, home)
        if not path.exists():
            continue
        if out := led_out_of(str(path), written):
            hint = f"remove that link, or what config.yml says of {text}"
            raise UsageError(_led(text, out), hint=hint)
        yield Mount(os.path.realpath(path), str(path), writable)


def _led(text: str, out: str) -> str:
    return f"{text} leads out of {out}, which steps may write, through a link in there"


def _absolute(text: str, home: Path) -> Path:
    return home / text[2:] if text.startswith("~/") else Path(text)
