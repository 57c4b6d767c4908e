"""The `tako` command: finds the command's module, imports nothing else."""

from __future__ import annotations

import sys

#: Command → the module in this package that holds it as `command`, and its one-line help.
COMMANDS = {
    "exec": ("tako.cli.exec", "Run a workflow, and the workflows of all who subscribe to its events."),
    "validate": ("tako.cli.validate", "Check a tako.yml and name every mistake."),
    "status": ("tako.cli.status", "Show what a run did, as a tree."),
    "runs": ("tako.cli.runs", "List the runs, newest first."),
    "logs": ("tako.cli.logs", "Print the output of a run's steps."),
    "cache": ("tako.cli.cache", "Fill, list and check the repository cache."),
    "version": ("tako.cli.version", "Print the version."),
}


def main() -> None:
    """Run the command line and exit; the only place that calls `sys.exit`."""
    if sys.argv[1:] in (["version"], ["--version"]):
        # Without click, whose import takes twice as long as Python's own start.
        from tako.version import VERSION

        sys.stdout.write(f"tako {VERSION}\n")
        sys.exit(0)
    from tako.cli.errors import guarded

    sys.exit(guarded(_run))


def _run() -> int:
    from tako.cli.group import tako

    result = tako(prog_name="tako", standalone_mode=False)
    return result if isinstance(result, int) else 0
