"""The exit codes of tako, as docs/command-line.md lists them."""

from __future__ import annotations

#: The run, a child or what was asked for failed; the command succeeded otherwise.
SUCCEEDED, FAILED = 0, 1
#: Wrong arguments, inputs or configuration.
USAGE = 2
#: A bug in tako.
BUG = 3
#: The machine does not allow it: disk, git, locks, isolation, or a run that was killed.
MACHINE = 4
#: Another run holds what this one needs.
HELD = 5
#: A timeout ended the run, as timeout(1) tells it.
TIMED_OUT = 124
#: A shell adds the number of the signal that ended a program (POSIX, 2.8.2).
SIGNAL_BASE = 128


def of_signal(number: int) -> int:
    """The exit code of a program that a signal ended."""
    return SIGNAL_BASE + number


def of_program(code: int) -> int:
    """The exit code for a return code as `subprocess` has it, where a signal is a negative number."""
    return code if code >= 0 else of_signal(-code)
