"""The table of commands: what there is, without importing any of it."""

from __future__ import annotations

#: Command → the module in this package that holds it as `command`, and its one-line help.
COMMANDS = {
    "exec": (
        "tako.cli.commands.exec",
        "Run a workflow, and the workflows that subscribe to its events.",
    ),
    "validate": ("tako.cli.commands.validate", "Check a tako.yml and print every mistake."),
    "status": ("tako.cli.commands.status", "Show what a run did, as a tree."),
    "runs": ("tako.cli.commands.runs", "List the runs, newest first."),
    "logs": ("tako.cli.commands.logs", "Print the output of a run's steps."),
    "reap": ("tako.cli.commands.reap", "Clean up after runs whose tako process was killed."),
    "workspace": ("tako.cli.commands.workspace", "Remove the workspaces of ended runs."),
    "shell": ("tako.cli.commands.shell", "Open a shell in the sandbox and workspace of an ended run."),
    "cache": ("tako.cli.commands.cache", "Fill, list, check and clean the repository cache."),
    "doctor": (
        "tako.cli.commands.doctor",
        "Show which features of this machine tako can use.",
    ),
    "version": ("tako.cli.commands.version", "Print the version."),
}
