"""The errors of templates, conditions, and texts made from them.

Positions count from 1 and lie inside the text that was given, so that the reader of a
file can add the place where it began.
"""

from __future__ import annotations

from tako.errors import UsageError


class ExpressionError(UsageError):
    """A template or condition that cannot be read, or not with these values.

    `reason` is the bare sentence, `line` and `column` are the place inside `expression`.
    """

    def __init__(
        self, reason: str, *, expression: str = "", line: int = 1, column: int = 1, hint: str = ""
    ) -> None:
        place = f"line {line}, column {column}" if "\n" in expression else f"column {column}"
        super().__init__(f"{reason} ({place})", hint=hint)
        self.reason = reason
        self.expression = expression
        self.line = line
        self.column = column

    def __reduce__(self) -> tuple[object, ...]:
        """Cross a process boundary whole: exceptions are otherwise rebuilt from their message alone."""
        state = (self.reason, self.hint, self.expression, self.line, self.column)
        return _rebuilt, (type(self), state)


class FieldMissingError(ExpressionError):
    """A condition reads a field, key or index that its values do not have."""


def _rebuilt(kind: type[ExpressionError], state: tuple[str, str, str, int, int]) -> ExpressionError:
    reason, hint, expression, line, column = state
    return kind(reason, expression=expression, line=line, column=column, hint=hint)


def place_of(text: str, offset: int) -> tuple[int, int]:
    """Return the line and column, both from 1, of a character offset in `text`."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def error_at(text: str, offset: int, reason: str, *, hint: str = "") -> ExpressionError:
    """Make the error whose place is `offset` characters into `text`."""
    line, column = place_of(text, offset)
    return ExpressionError(reason, expression=text, line=line, column=column, hint=hint)


def suggestion(word: str, known: list[str]) -> str:
    """Return `, did you mean `x`?` for the nearest of `known`, or nothing."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f", did you mean `{near[0]}`?" if near else ""
