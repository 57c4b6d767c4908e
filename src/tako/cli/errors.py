"""The one boundary where exceptions become messages and exit codes (docs/command-line.md, "Exit codes")."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from tako import exit_codes
from tako.errors import BugError, TakoError
from tako.system.terminal.streams import discard, say
from tako.system.terminal.text import shown
from tako.version import VERSION


def guarded(work: Callable[[], int]) -> int:
    """Call `work` and return its exit code; print what it raises, and return the exit code of that."""
    import click

    try:
        code = work()
        # Left to Python's own end, a reader that went away would be noise and exit code 120.
        sys.stdout.flush()
        return code
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return exit_codes.of_signal(signal.SIGINT)
    except BugError as error:
        return tell_bug(error)
    except TakoError as error:
        from tako.system.storage.faults import hint_of

        tell(error.message, hint_of(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has enough of it; what is left of it must not fail once more at exit.
        discard(sys.stdout)
        return exit_codes.FAILED
    except Exception as error:  # noqa: BLE001 - the last boundary: whatever gets here is the machine's or a bug
        return _tell_unexpected(error)


def _tell_unexpected(error: Exception) -> int:
    """Return what the machine refused, else what to report; returns the exit code."""
    from tako.system.storage.faults import fault_of

    fault = fault_of(error)
    if fault is None:
        return tell_bug(error)
    tell(fault.message, fault.hint)
    return fault.exit_code


def tell(message: str, hint: str = "") -> None:
    """Say on stderr what went wrong and what to do."""
    first, *more = message.splitlines() or [""]
    lines = [f"tako: {first}", *(f"      {line}" for line in more)]
    if hint:
        lines.append(f"tako: {hint}")
    say(sys.stderr, shown("\n".join(lines)) + "\n")


def tell_bug(error: Exception) -> int:
    """Print the traceback and what to report; returns the exit code."""
    import traceback

    say(sys.stderr, shown("".join(traceback.format_exception(error))))
    tell(f"this is a bug in tako {VERSION}: please report the lines above and the command")
    return exit_codes.BUG
