"""Options that several commands share, and the home directory they work on."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tako.config.schema import Settings
from tako.errors import MachineError, UsageError
from tako.layout.home import Home, home_from
from tako.system.storage.faults import fault_of


def check_cache_dir(home: Home) -> None:
    """Raise `UsageError` for a `--cache-dir` that is no directory: an empty cache has no subscribers."""
    if home.cache_dir is not None and not home.cache_dir.is_dir():
        what = "is not a directory" if os.path.lexists(home.cache_dir) else "does not exist"
        message = f"--cache-dir {home.cache_dir} {what}"
        raise UsageError(message, hint="`tako cache --cache-dir DIR add` makes a cache")


def open_home(home: Home | None = None) -> tuple[Home, Settings]:
    """Make `$TAKO_HOME` if it is missing, and read its settings, which may name another cache.

    Raises `MachineError` if it belongs to another user, cannot be made or used, or if the cache cannot;
    `ConfigError` for a wrong config.yml.
    """
    from tako.config.settings import load_settings

    home = home or home_from(dict(os.environ))
    try:
        for directory in (home.path, home.workspaces):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_strangers(home.path)
    except OSError as error:
        message = f"TAKO_HOME {home.path} cannot be used: {error.strerror}"
        fault = fault_of(error)
        raise MachineError(message, hint=fault.hint if fault else "") from error
    settings = load_settings(home.config)
    if home.cache_dir is None and settings.cache_dir:
        home = Home(home.path, Path(settings.cache_dir))
    check_cache(home)
    return home, settings


def check_cache(home: Home) -> None:
    """Raise `MachineError` if the cache's path exists and is not a usable directory."""
    path = home.cache.path
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(path))
        os.stat(path / os.curdir)
    except FileNotFoundError:
        return
    except OSError as error:
        raise fault_of(error) or error from error


def _refuse_strangers(path: Path) -> None:
    owner = path.stat().st_uid
    if owner != os.getuid():
        message = f"TAKO_HOME {path} belongs to user {owner}, not to you ({os.getuid()})"
        raise MachineError(message, hint="set TAKO_HOME to a directory of your own")
