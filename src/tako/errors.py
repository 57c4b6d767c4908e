"""What can go wrong, sorted by whose fault it is.

Every class here carries the exit code of the command line (docs/command-line.md: 2 wrong use, 3 a bug,
4 the environment, 5 held by another run). One boundary, `cli.errors`, turns them into a
message and that code; only `cli.main` calls `sys.exit`.
"""

from __future__ import annotations

from typing import ClassVar

from tako import exit_codes
from tako.values import value


class TakoError(Exception):
    """A failure that a person can act on.

    `message` says what happened and where; `hint` what to do next (may be empty).
    """

    exit_code: ClassVar[int] = exit_codes.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(TakoError):
    """Wrong arguments, inputs or configuration, found before anything started."""

    exit_code = exit_codes.USAGE


class ReferenceInvalidError(UsageError):
    """A name that came from outside does not follow the grammar of `layout`."""


@value
class Problem:
    """One mistake in a file: `line` and `column` count from 1, `key` is the path of keys to it."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        """Return `file:line:column: key: message`, as compilers print it."""
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class ConfigError(UsageError):
    """A tako.yml or config.yml that cannot be used, with all its problems at once."""

    def __init__(self, problems: tuple[Problem, ...], *, hint: str = "") -> None:
        super().__init__("\n".join(str(problem) for problem in problems), hint=hint)
        self.problems = problems


class InputsInvalidError(UsageError):
    """Inputs that a workflow does not take as given."""


class NotFoundError(UsageError):
    """A repository, workflow, run or step that does not exist."""


class MachineError(TakoError):
    """The environment does not allow it: git, cache, locks, disk, isolation level."""

    exit_code = exit_codes.MACHINE


class WriteFailedError(MachineError):
    """What has to be kept cannot be written: the disk fails, or became read-only."""


class DiskFullError(WriteFailedError):
    """No room left where tako writes (ENOSPC, EDQUOT)."""


class HeldError(TakoError):
    """Another run holds what this one needs."""

    exit_code = exit_codes.HELD


class UnexpectedError(TakoError):
    """What nobody foresaw went wrong with one repository's data: a bug, but the others must not suffer."""

    exit_code = exit_codes.BUG


class BugError(TakoError):
    """A state that tako's own code promised never to reach."""

    exit_code = exit_codes.BUG
