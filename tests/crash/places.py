"""A small tree with everything in it that can break off, killed at chosen places and taken up again.

acme/lib ─ build ─ dependents ── acme/app ─ one ─ more (nobody waits) ── acme/leaf
                                          ─ two
         ─ after
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from tako.journal.fold import RunState, fold
from tako.journal.log import read_records
from tako.journal.records import StepFinished, StepStarted
from tako.layout import RunDirectory
from tako.system.crash_points import VARIABLE
from tests.support.git import Repositories
from tests.support.run_processes import carrying
from tests.support.runner import Finished, Tako
from tests.support.scenes import subscription, tako_yml, workflow

PRODUCED = {
    "outputs": {"v": "from_stdout"},
    "artifacts": {"default": ["out.txt"]},
    "artifact": "default",
}
DECLARED = {"default": {"path": "out.txt"}}
#: What differs between two runs of the same.
_PASSING = frozenset(
    (
        "run_id",
        "started",
        "at",
        "duration_s",
        "usage",
        "attempts",
        "earlier",
        "commit",
        "interrupted_at",
        "last",
    )
)


def _said(step: str, rest: str = "") -> dict[str, Any]:
    """A step that writes down that it ran."""
    script = f'echo "$TAKO_REPOSITORY $TAKO_STEP" >> "$RAN"\necho out-of-{step} | tee out.txt\n{rest}'
    return {"id": step, "run": script}


def _emit(step: str, event_type: str, **options: object) -> dict[str, Any]:
    return {
        "id": step,
        "uses": "tako/fan-out@v1",
        "with": {"event_type": event_type, "payload": {}, **options},
    }


@frozen
class Place:
    """One TAKO_HOME with its repositories, below `directory`."""

    directory: Path
    tako: Tako

    @property
    def checkout(self) -> Path:
        return self.directory / "repositories" / "acme" / "lib"

    @property
    def points(self) -> Path:
        return self.directory / "points"

    @property
    def ran(self) -> list[str]:
        file = self.directory / "ran"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def run(self) -> RunDirectory | None:
        """The one root run; None if it was not made."""
        found = [RunDirectory(path) for path in self.tako.home.glob("workspaces/exec-*")]
        assert len(found) <= 1
        return found[0] if found else None

    def kill_at(self, **order: object) -> None:
        """Have somebody die; `passed` begins anew."""
        (self.points / "passed").unlink(missing_ok=True)
        (self.points / "kill").write_text(json.dumps(order))

    def was_killed(self) -> bool:
        """Whether somebody did."""
        left = self.points / "kill"
        if left.exists():
            left.unlink()
            return False
        return True

    def release(self) -> Finished:
        return self._tako("release", cwd=self.checkout)

    def resume(self) -> Finished:
        assert self.run is not None
        return self._tako("--resume", self.run.run_id)

    def _tako(self, *arguments: str, cwd: Path | None = None) -> Finished:
        options = ("--jobs", "1", "--isolation", "process", "--output", "json")
        variables = {VARIABLE: str(self.points), "RAN": str(self.directory / "ran")}
        # What is measured elsewhere need not be measured some hundred times here.
        measured = {name for name in self.tako.environment if name.startswith("COVERAGE")}
        calm = {name: text for name, text in self.tako.environment.items() if name not in measured}
        return Tako(calm, self.directory)("exec", *arguments, *options, cwd=cwd, env=variables)

    def passed(self) -> list[str]:
        """The places that were passed, each once, in an order that is always the same."""
        return sorted(set((self.points / "passed").read_text().splitlines()))


def make_template(directory: Path) -> Path:
    """Make the repositories and their cache, to be copied for each run."""
    repositories = Repositories(directory / "repositories")
    library = workflow(
        {**_said("build"), "produces": PRODUCED},
        _emit("dependents", "built"),
        _said("after", 'ls "$TAKO_CHILDREN/acme/app/default"'),
        on="exec",
    )
    repositories(
        "acme/lib",
        {"tako.yml": tako_yml({"release": library}, artifacts=DECLARED), ".gitignore": "out.txt\n"},
    )
    took = 'cat "$TAKO_ARTIFACTS/default/out.txt"'
    app = workflow(
        {**_said("one", took), "produces": PRODUCED},
        _emit("more", "used", wait_for_children=False),
        _said("two"),
    )
    for name, flow, subscribed in (
        ("acme/app", app, subscription()),
        ("acme/leaf", workflow(_said("one")), subscription("acme/app", events=["used"])),
    ):
        checkout = directory / "tako-home" / "cache" / "repos" / name / "main"
        checkout.mkdir(parents=True)
        (checkout / "tako.yml").write_text(tako_yml({"check": flow}, [subscribed], artifacts=DECLARED))
    (directory / "tako-home" / "config.yml").write_text("environment: [RAN]\n")
    (directory / "tako-home").chmod(0o700)
    return directory


def copied(template: Path, directory: Path, tako: Tako) -> Place:
    """Give a copy of the template of its own."""
    shutil.copytree(template, directory, dirs_exist_ok=True)
    place = Place(directory, tako)
    place.points.mkdir()
    return place


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Leave out of a result what differs between two runs of the same."""
    if isinstance(value, dict):
        return {key: plain(held) for key, held in value.items() if key not in _PASSING}
    return [plain(held) for held in value] if isinstance(value, list) else value


def states(run: RunDirectory) -> Iterator[tuple[RunDirectory, RunState]]:
    """Give every run of the tree that has a journal, with its state."""
    if run.journal.exists():
        yield run, fold(read_records(run.journal))
    for child in sorted(run.children.glob("exec-*")):
        yield from states(RunDirectory(child))


def nothing_ran_twice(place: Place) -> None:
    """Whatever was recorded as ended well was never begun again, and nothing ran without a record."""
    assert place.run is not None
    begun: Counter[str] = Counter()
    for run, state in states(place.run):
        assert state.started is not None
        done = set()
        for record in read_records(run.journal):
            if isinstance(record, StepStarted):
                assert record.step not in done, f"{record.step} of {state.started.repository} ran twice"
                begun[f"{state.started.repository} {record.step}"] += 1
            if isinstance(record, StepFinished) and record.status == "succeeded":
                done.add(record.step)
    ran = Counter(place.ran)
    assert all(ran[step] <= begun[step] for step in ran), (ran, begun)


def nothing_is_left(place: Place) -> None:
    """No process, no workspace, no lock."""
    assert place.run is not None
    assert carrying(place.run.run_id) == set()
    assert [str(path) for path in place.run.path.rglob("work") if path.parent.name.startswith("exec-")] == []
    trash = place.tako.home / "trash"
    assert not trash.exists() or os.listdir(trash) == []
