"""The table of commands: what there is, without importing any of it."""

from __future__ import annotations

#: Command → the module in this package that holds it as `command`, and its one-line help.
COMMANDS = {
    "exec": (
        "tako.cli.commands.exec",
        "Run a workflow, and the workflows of all who subscribe to its events.",
    ),
    "validate": ("tako.cli.commands.validate", "Check a tako.yml and name every mistake."),
    "status": ("tako.cli.commands.status", "Show what a run did, as a tree."),
    "runs": ("tako.cli.commands.runs", "List the runs, newest first."),
    "logs": ("tako.cli.commands.logs", "Print the output of a run's steps."),
    "reap": ("tako.cli.commands.reap", "End and complete what runs have left whose tako was killed."),
    "workspace": ("tako.cli.commands.workspace", "Remove workspaces that are no longer kept."),
    "shell": ("tako.cli.commands.shell", "Open a shell in a run's sandbox, with its workspace as it was."),
    "cache": ("tako.cli.commands.cache", "Fill, list and check the repository cache."),
    "doctor": (
        "tako.cli.commands.doctor",
        "Show what of this machine tako can use, and how to get the rest.",
    ),
    "version": ("tako.cli.commands.version", "Print the version."),
}
