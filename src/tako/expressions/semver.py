"""Semantic Versioning 2.0.0 (https://semver.org): the grammar and the precedence, nothing else."""

from __future__ import annotations

import re

from tako.errors import UsageError
from tako.values import value

_LENGTH_MAX = 256
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRERELEASE = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})"
    rf"(?:-({_PRERELEASE}(?:\.{_PRERELEASE})*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)

Key = tuple[int, int, int, int, tuple[tuple[int, int, str], ...]]


@value
class Version:
    """One version. Compare by `key`: build metadata has no part in precedence (section 10)."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()
    build: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """Sort by this: sections 11.2 to 11.4; a release comes after its prereleases."""
        identifiers = tuple(
            (0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.prerelease
        )
        return self.major, self.minor, self.patch, 0 if self.prerelease else 1, identifiers

    @property
    def release(self) -> tuple[int, int, int]:
        """The three numbers."""
        return self.major, self.minor, self.patch

    def __str__(self) -> str:
        """Return the text it was read from."""
        text = ".".join(map(str, self.release))
        text += "-" + ".".join(self.prerelease) if self.prerelease else ""
        return text + ("+" + ".".join(self.build) if self.build else "")


def parse_version(text: str) -> Version:
    """Read `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]`. Raises `UsageError`."""
    found = _VERSION.fullmatch(text) if len(text) <= _LENGTH_MAX else None
    if found is None:
        message = f"{text[:80]!r} is not a semantic version: expected MAJOR.MINOR.PATCH, such as 1.2.0"
        raise UsageError(message)
    major, minor, patch, prerelease, build = found.groups()
    return Version(
        int(major),
        int(minor),
        int(patch),
        tuple(prerelease.split(".")) if prerelease else (),
        tuple(build.split(".")) if build else (),
    )


def compare(left: Version, right: Version) -> int:
    """Return -1, 0 or 1 by precedence."""
    return (left.key > right.key) - (left.key < right.key)
