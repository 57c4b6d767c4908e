"""The `tako` command: finds the command's module, imports nothing else."""

from __future__ import annotations

import gc
import sys

from tako.system.terminal.streams import ensure_open


def main() -> None:
    """Run the command line and exit; the only place that calls `sys.exit`."""
    # What is loaded at a start stays: collections would only look through it, a twentieth of the start.
    gc.disable()
    ensure_open()
    if sys.argv[1:] in (["version"], ["--version"]):
        # Without click, whose import takes twice as long as Python's own start.
        from tako.version import VERSION

        sys.stdout.write(f"tako {VERSION}\n")
        sys.exit(0)
    from tako.cli.errors import guarded

    _never_fail_to_encode()
    sys.exit(guarded(_run))


def _never_fail_to_encode() -> None:
    """Let what the terminal's encoding lacks be written as an escape, as Python does on stderr only."""
    from io import TextIOWrapper

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _run() -> int:
    from tako.cli.group import tako

    result = tako(prog_name="tako", standalone_mode=False)
    return result if isinstance(result, int) else 0
