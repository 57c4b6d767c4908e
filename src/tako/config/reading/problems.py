"""Collects the mistakes of one file, so that all are reported at once, in the file's order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

from tako.config.schema import Mark
from tako.errors import ConfigError, Problem

PROBLEMS_MAX = 100
_TEXT_MAX = 400


class Problems:
    """The mistakes found so far in one file; `marks` finds the place of a key path."""

    def __init__(self, file: str, hint_if_empty: str = "") -> None:
        self.file = file
        self.marks: Mapping[str, Mark] = {}
        self._hint_if_empty = hint_if_empty
        self._found: dict[Problem, None] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, mark: Mark, key: str, message: str) -> None:
        """Note one mistake at `mark`; raise `ConfigError` when there are too many to be read."""
        self._found[Problem(self.file, mark.line, mark.column, _short(key), _short(message))] = None
        if len(self._found) >= PROBLEMS_MAX:
            raise ConfigError(in_order(self._found), hint=f"these are only the first {PROBLEMS_MAX} problems")

    def at(self, key: str, message: str) -> None:
        """Note one mistake at the place of the key path `key`."""
        self.add(mark_of(self.marks, key, self.file), key, message)

    def check(self) -> None:
        """Raise `ConfigError` with all mistakes, ordered by place, if there is any."""
        if self._found:
            raise ConfigError(in_order(self._found))

    def stop(self, message: str, mark: Mark | None = None) -> NoReturn:
        """Note a mistake that nothing can be read behind, and raise `ConfigError`."""
        self.add(mark or Mark(self.file, 1, 1), "", message)
        raise ConfigError(in_order(self._found))

    def stop_empty(self) -> NoReturn:
        """Raise `ConfigError` for a file with nothing in it."""
        raise ConfigError((Problem(self.file, 1, 1, "", "the file is empty"),), hint=self._hint_if_empty)


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort problems by their place in the file."""
    return tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))


def mark_of(marks: Mapping[str, Mark], key: str, file: str) -> Mark:
    """Find the place of a key path, else of what it is in, else the start of the file."""
    while key and key not in marks:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return marks.get(key) or Mark(file, 1, 1)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest of `known`, else what is known, else nothing."""
    import difflib

    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known here: {', '.join(names)}" if names else ""


def _short(text: str) -> str:
    # What is quoted from a file may be as long as the file; both ends of a message matter.
    half = _TEXT_MAX // 2
    return text if len(text) <= _TEXT_MAX else f"{text[:half]} ... {text[-half:]}"
