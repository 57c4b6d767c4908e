"""Reads a configuration file from disk: only a regular file, of bounded size, that is text.

In: a path or bytes. Out: text; everything else is a `ConfigError`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tako.config.reading.problems import Problems
from tako.config.reading.texts import unprintable
from tako.config.schema import Mark
from tako.errors import MachineError
from tako.system.storage.faults import mending

SIZE_MAX = 1024 * 1024
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK = b"\xef\xbb\xbf"


def read_regular(path: Path, problems: Problems, *, inside: bool) -> bytes | None:
    """Return the bytes of a file, None if it does not exist.

    Raises `ConfigError` if it is a directory, a device, a FIFO, unreadable or too large, and, with
    `inside`, if it is a link that leads out of its directory. Raises `MachineError` for what may not be read,
    unless `inside`: there it is the repository's fault.
    """
    if inside:
        _refuse_outer_link(path, problems)
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _content(descriptor, problems)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        if not inside and isinstance(error, PermissionError):
            message = f"{path} cannot be read: {error.strerror}"
            raise MachineError(message, hint=mending(path)) from error
        problems.stop(f"it cannot be read: {error.strerror}")


def _content(descriptor: int, problems: Problems) -> bytes:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        problems.stop("it is not a regular file")
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(SIZE_MAX + 1)


def text_of(data: bytes, problems: Problems) -> str:
    """Return the text of a file in UTF-8, without byte order mark.

    Raises `ConfigError` if it is too large, empty, or not text.
    """
    data = data.removeprefix(_UTF8_MARK)
    if len(data) > SIZE_MAX:
        problems.stop(f"it is larger than {SIZE_MAX // 1024} KiB")
    if data.startswith(_UTF16):
        problems.stop("it is UTF-16; save it as UTF-8")
    if b"\0" in data:
        problems.stop("it holds a NUL byte: a binary file?", _mark(problems, data, data.index(b"\0")))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        problems.stop(message, _mark(problems, data, error.start))
    found = unprintable(text)
    if found:
        mark = _mark(problems, text.encode(), len(text[: found.start()].encode()))
        problems.stop(f"the control character {found.group()!r} cannot be used", mark)
    if not text.strip():
        problems.stop_empty()
    return text


def _refuse_outer_link(path: Path, problems: Problems) -> None:
    # A repository could show a file of the user's, line by line, in its error messages.
    try:
        inside = not path.is_symlink() or path.resolve().is_relative_to(path.parent.resolve())
    except (OSError, RuntimeError):
        # pathlib's RuntimeError is a loop of links (until Python 3.12).
        problems.stop("it is a link that leads nowhere")
    if not inside:
        problems.stop("it is a link that leads out of its directory")


def _mark(problems: Problems, data: bytes, offset: int) -> Mark:
    before = data[:offset]
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    return Mark(problems.file, before.count(b"\n") + 1, column)
