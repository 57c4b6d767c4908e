"""Version ranges: which schema versions a subscription takes.

    (1.1.0...2.0.0]  [1.0.0...2.0.0)  [1.0.0...)    intervals; `..` and `,` separate too
    >=1.2.0 <2.0.0   =1.2.3   1.2.3                 comparators, all of which must hold
    ^1.2  ~1.2  1.x  1.2  *                         compatible, patches of, any of
    ... || ...                                      either; an empty text is any version

Precedence is that of Semantic Versioning 2.0.0. A prerelease lies in a range only where a
bound of the same alternative is a prerelease of the same MAJOR.MINOR.PATCH, as npm has it:
`<2.0.0` is not meant to let 2.0.0-alpha in. `*` and the empty text take prereleases too.
May fail: `UsageError` that says what was expected.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tako.errors import UsageError
from tako.expressions.semver import Version, parse_version
from tako.values import value

_TEXT_MAX = 1000
_COMPARATOR = re.compile(r"(>=|<=|>|<|=|\^|~)?\s*([^\s<>=^~,|]+)\s*,?\s*")
_PARTIAL = re.compile(r"(0|[1-9][0-9]{0,8})(?:\.(0|[1-9][0-9]{0,8}|[xX*]))?(?:\.([xX*]))?")
_WILD = frozenset({"x", "X", "*"})
_EXPECTED = (
    'expected an interval such as "[1.0.0...2.0.0)" or comparators such as ">=1.2.0 <2.0.0", "^1.2", "1.x"'
)


@value
class Bound:
    """One end of a span: `version` itself belongs to it if `inclusive`."""

    version: Version
    inclusive: bool


@value
class Span:
    """The versions between two bounds; a missing bound is open."""

    lower: Bound | None = None
    upper: Bound | None = None

    def contains(self, version: Version) -> bool:
        """Say whether `version` lies between the bounds, by precedence alone."""
        key = version.key
        if self.lower and (key < self.lower.version.key or not self._holds(self.lower, version)):
            return False
        return not (self.upper and (key > self.upper.version.key or not self._holds(self.upper, version)))

    def names_prerelease_of(self, version: Version) -> bool:
        """Say whether a bound is a prerelease of the same three numbers."""
        bounds = [bound.version for bound in (self.lower, self.upper) if bound]
        return any(bound.prerelease and bound.release == version.release for bound in bounds)

    @staticmethod
    def _holds(bound: Bound, version: Version) -> bool:
        return bound.inclusive or bound.version.key != version.key


@value
class VersionRange:
    """A range as it was written: each alternative is a tuple of spans that must all hold."""

    text: str
    alternatives: tuple[tuple[Span, ...], ...]

    def contains(self, version: str) -> bool:
        """Say whether `version` lies in the range. Raises `UsageError` if it is no version."""
        return self.takes(parse_version(version))

    def takes(self, version: Version) -> bool:
        """Say whether `version` lies in the range."""
        return any(_all_hold(spans, version) for spans in self.alternatives)

    def __str__(self) -> str:
        """Give the text it was read from."""
        return self.text


@lru_cache(maxsize=1024)
def parse_range(text: str) -> VersionRange:
    """Read a range. Raises `UsageError`."""
    if len(text) > _TEXT_MAX:
        message = f"a version range has at most {_TEXT_MAX} characters"
        raise UsageError(message)
    if not text.strip():
        return VersionRange(text, ((),))
    return VersionRange(text, tuple(_alternative(part.strip(), text) for part in text.split("||")))


def _all_hold(spans: tuple[Span, ...], version: Version) -> bool:
    if not all(span.contains(version) for span in spans):
        return False
    return not (version.prerelease and spans) or any(span.names_prerelease_of(version) for span in spans)


def _alternative(part: str, text: str) -> tuple[Span, ...]:
    if part.startswith(("[", "(")):
        return (_interval(part, text),)
    spans: list[Span] = []
    offset = 0
    while offset < len(part):
        found = _COMPARATOR.match(part, offset)
        if found is None:
            raise _wrong(text, f"{part[offset:]!r} is no comparator")
        spans += _comparator(found[1] or "", found[2], text)
        offset = found.end()
    if not part:
        raise _wrong(text, "an alternative is empty")
    return tuple(spans)


def _interval(part: str, text: str) -> Span:
    if not part.endswith(("]", ")")):
        raise _wrong(text, "an interval ends with ']' or ')'")
    inside = part[1:-1]
    separator = next((mark for mark in ("...", "..", ",") if mark in inside), "")
    if not separator:
        raise _wrong(text, "an interval needs '...' between its ends")
    low, _, high = inside.partition(separator)
    lower = _end(low.strip(), text, inclusive=part[0] == "[")
    upper = _end(high.strip(), text, inclusive=part[-1] == "]")
    if lower and upper and not _between(lower, upper):
        raise _wrong(text, "no version lies in this interval")
    return Span(lower, upper)


def _between(lower: Bound, upper: Bound) -> bool:
    if lower.version.key == upper.version.key:
        return lower.inclusive and upper.inclusive
    return lower.version.key < upper.version.key


def _end(version: str, text: str, *, inclusive: bool) -> Bound | None:
    return Bound(_full(version, text), inclusive) if version else None


def _full(version: str, text: str) -> Version:
    try:
        return parse_version(version)
    except UsageError as error:
        raise _wrong(text, error.message) from error


def _comparator(operator: str, version: str, text: str) -> tuple[Span, ...]:
    if version in _WILD:
        if operator not in {"", "="}:
            raise _wrong(text, f"{operator!r} needs a version, not {version!r}")
        return ()
    partial = _PARTIAL.fullmatch(version)
    if partial is None:
        return (_compared(operator, _full(version, text)),)
    numbers = [int(number) for number in partial.groups() if number is not None and number not in _WILD]
    return (_compared_partial(operator, numbers),)


def _compared(operator: str, version: Version) -> Span:
    at = Bound(version, inclusive=True)
    match operator:
        case ">=":
            return Span(lower=at)
        case ">":
            return Span(lower=Bound(version, inclusive=False))
        case "<=":
            return Span(upper=at)
        case "<":
            return Span(upper=Bound(version, inclusive=False))
        case "^":
            return Span(at, _before(_first_non_zero(list(version.release))))
        case "~":
            return Span(at, _before([version.major, version.minor]))
        case _:
            return Span(at, at)


def _compared_partial(operator: str, numbers: list[int]) -> Span:
    """Read `1` and `1.2` as all versions that begin so, as npm does."""
    first = _padded(numbers)
    at, after = Bound(first, inclusive=True), _before(numbers)
    match operator:
        case ">=":
            return Span(lower=at)
        case ">":
            return Span(lower=Bound(after.version, inclusive=True))
        case "<=":
            return Span(upper=after)
        case "<":
            return Span(upper=Bound(first, inclusive=False))
        case "^":
            return Span(at, _before(_first_non_zero(numbers)))
        case _:
            return Span(at, after)


def _first_non_zero(numbers: list[int]) -> list[int]:
    """Cut after the first number that is not 0: what `^` keeps unchanged."""
    for index, number in enumerate(numbers):
        if number:
            return numbers[: index + 1]
    return numbers


def _before(numbers: list[int]) -> Bound:
    """Give the bound just below the next version after all that begin with `numbers`."""
    return Bound(_padded([*numbers[:-1], numbers[-1] + 1]), inclusive=False)


def _padded(numbers: list[int]) -> Version:
    major, minor, patch = [*numbers, 0, 0][:3]
    return Version(major, minor, patch)


def _wrong(text: str, problem: str) -> UsageError:
    return UsageError(f"{text!r} is not a version range: {problem}", hint=_EXPECTED)
