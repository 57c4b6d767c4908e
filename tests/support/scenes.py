"""A release of one library and those who subscribe to it, made to order for tests of the whole tool.

The library is a real git repository; the subscribers are checkouts put into the cache by hand. What
steps tell a test comes through a `Mailbox`, so that tests wait for what happened, never for a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.support.git import Files, Repositories, write_files
from tests.support.runner import Finished, Tako, run_program

SOURCE = "acme/lib"
FAN_OUT = {
    "id": "dependents",
    "uses": "tako/fan-out@v1",
    "with": {"event_type": "built", "payload": {"version": "1.2.3"}},
}
"""The fan-out step that reaches every `Scene.subscriber` of `acme/lib`."""

Step = str | Mapping[str, Any]


def workflow(*steps: Step, **keys: object) -> dict[str, Any]:
    """Give a workflow; a text is the script of a step named `step-N`."""
    whole = [
        {"id": f"step-{n}", "run": step} if isinstance(step, str) else dict(step)
        for n, step in enumerate(steps, 1)
    ]
    return {"on": "event", "steps": whole, **keys}


def fan_out(**options: object) -> dict[str, Any]:
    """Give the step `dependents` with more `with:` options."""
    return {**FAN_OUT, "with": {"event_type": "built", "payload": {"version": "1.2.3"}, **options}}


def tako_yml(
    workflows: Mapping[str, Any], subscriptions: Sequence[Mapping[str, Any]] = (), **keys: object
) -> str:
    """Give a tako.yml, as JSON, which YAML is a superset of."""
    whole: dict[str, Any] = {"version": "0.1.0", **keys, "workflows": dict(workflows)}
    if subscriptions:
        whole["subscriptions"] = list(subscriptions)
    return json.dumps(whole, indent=1)


def subscription(source: str = SOURCE, name: str = "check", **keys: object) -> dict[str, Any]:
    """Give a subscription to `built` of the default artifact of `source`."""
    return {"artifact": f"{source}:default", "events": ["built"], "workflow": name, **keys}


class Mailbox:
    """A FIFO that steps write lines to; writing and opening never block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""

    def line(self, timeout_s: float = 40.0) -> str:
        """Give the next line; fails the test if none comes."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"nothing was written to {self.path}"
            self._rest += os.read(self._fd, 65536)
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def lines(self, count: int) -> list[str]:
        """Give the next `count` lines."""
        return [self.line() for _ in range(count)]

    def is_empty(self) -> bool:
        """Say whether everything written was read."""
        return not self._rest and not select.select([self._fd], [], [], 0)[0]

    def close(self) -> None:
        """Close the FIFO."""
        os.close(self._fd)


@frozen
class Scene:
    """One library, its subscribers, the mailboxes; all below `directory`."""

    tako: Tako
    git_repo: Repositories
    directory: Path
    mailboxes: contextlib.ExitStack

    def mailbox(self, name: str = "mail") -> Mailbox:
        """Make a mailbox; steps write to its `path`, which a sandbox would hide."""
        self.settings("isolation: process\n")
        box = Mailbox(self.directory / name)
        self.mailboxes.callback(box.close)
        return box

    def settings(self, text: str) -> None:
        """Write config.yml."""
        self.tako.home.mkdir(mode=0o700, exist_ok=True)
        (self.tako.home / "config.yml").write_text(text)

    def library(self, *steps: Step, files: Files | None = None, **keys: object) -> Path:
        """Make `acme/lib` with the workflow `release`; gives its checkout."""
        config = tako_yml({"release": workflow(*steps, on="exec", **keys)})
        return self.git_repo(SOURCE, {"tako.yml": config, **(files or {})})

    def subscriber(
        self,
        name: str,
        *steps: Step,
        files: Files | None = None,
        subscribed: Mapping[str, Any] | None = None,
        **keys: object,
    ) -> Path:
        """Put `name` into the cache: its workflow `check` runs when `acme/lib` says `built`."""
        config = tako_yml({"check": workflow(*steps, **keys)}, [subscription(**(subscribed or {}))])
        return self.checkout(name, {"tako.yml": config, **(files or {})})

    def checkout(self, name: str, files: Files) -> Path:
        """Put files into the cache as a checkout of `name`, branch main, made by hand."""
        path = self.tako.home / "cache" / "repos" / name / "main"
        path.mkdir(parents=True)
        write_files(path, files)
        return path

    def status(self, run: str = "") -> Any:  # noqa: ANN401 - what the command printed
        """Give what `tako status --output json` says."""
        return self.tako("status", *([run] if run else []), "--output", "json").json

    def unshared(self, unshare: Sequence[str], *lines: str) -> Finished:
        """Run a script in the namespaces that `unshare` makes, with the environment that `tako` has here."""
        return run_program([*unshare, "sh", "-ec", "\n".join(lines)], self.tako.environment)

    def runs(self) -> list[Path]:
        """Give the directories of all root runs."""
        directory = self.tako.home / "workspaces"
        return sorted(directory.iterdir()) if directory.exists() else []


@contextlib.contextmanager
def scene(tako: Tako, git_repo: Repositories, directory: Path) -> Iterator[Scene]:
    """Give a scene whose mailboxes are closed at the end."""
    with contextlib.ExitStack() as mailboxes:
        yield Scene(tako, git_repo, directory, mailboxes)


def children(result: Any, step: str = "dependents") -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Give the children of a result's fan-out by repository."""
    found = next(entry for entry in result["steps"] if entry["id"] == step)
    return {child["repository"]: child for child in found["fan_out"]["children"]}


def errors(result: Any, step: str = "dependents") -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Give the errors of a result's fan-out by repository."""
    found = next(entry for entry in result["steps"] if entry["id"] == step)
    return {error["repository"]: error for error in found["fan_out"]["errors"]}


def records(run: Path) -> list[dict[str, Any]]:
    """Give the records of a run directory's journal."""
    return [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]


def kinds(run: Path) -> list[str]:
    """Give the kinds of those records, in order."""
    return [record["kind"] for record in records(run)]
