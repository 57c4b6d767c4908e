"""A small tree with everything in it that can break off, killed at chosen places and taken up again.

acme/lib ─ build ─ dependents ── acme/app ─ one ─ more (nobody waits) ── acme/leaf
                                          ─ two
         ─ after
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from tako.journal.fold import fold
from tako.journal.log import read_records
from tako.journal.records import RunRestarted, StepFinished, StepStarted
from tako.journal.run_state import RunState
from tako.journal.statuses import INTERRUPTED
from tako.journal.stored import STORED_MIN
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.recovery.index import workspaces_of
from tako.report.reading import root_runs
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
#: Too much to stand in a journal.
LARGE = "one of many lines\n" * (STORED_MIN // 10)
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
        """The newest root run; None if none was made."""
        found = root_runs(Home(self.tako.home))
        return found[0] if found else None

    def kill_at(self, *orders: Mapping[str, object]) -> None:
        """Have somebody die, and then others; `passed` begins anew."""
        (self.points / "passed").unlink(missing_ok=True)
        for number, order in enumerate(orders):
            (self.points / f"kill.{number}").write_text(json.dumps(order))

    def was_killed(self) -> bool:
        """Whether all did that were to."""
        left = list(self.points.glob("kill.*"))
        for order in left:
            order.unlink()
        return not left

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
        tako = Tako(calm, self.directory, self.tako.fork)
        return tako("exec", *arguments, *options, cwd=cwd, env=variables)

    @property
    def passes(self) -> int:
        """How often a place was passed."""
        return len((self.points / "passed").read_text().splitlines())

    def passed(self) -> list[str]:
        """The places that were passed, each once, in an order that is always the same."""
        return sorted(set((self.points / "passed").read_text().splitlines()))


def make_template(directory: Path) -> Path:
    """Make the repositories and their cache, to be copied for each run."""
    repositories = Repositories(directory / "repositories")
    library = workflow(
        {**_said("build"), "produces": PRODUCED},
        _emit("dependents", "built", payload={"notes": LARGE}),
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
        inputs={"changes": {"type": "string"}},
    )
    # The event's payload and the child's inputs are stored, those of the other event are not.
    takes_notes = subscription(inputs={"changes": "{{ .event.payload.notes }}"})
    fails_once = {
        **_said("one", '[ -e "$RAN.leaf" ] || { touch "$RAN.leaf"; exit 1; }'),
        "retry": {"max_attempts": 2, "clean": True, "backoff": "10ms"},
    }
    for name, flow, subscribed in (
        ("acme/app", app, takes_notes),
        ("acme/leaf", workflow(fails_once), subscription("acme/app", events=["used"])),
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
            if isinstance(record, RunRestarted):
                done.clear()
    ran = Counter(place.ran)
    assert all(ran[step] <= begun[step] for step in ran), (ran, begun)


def cut_off(run: RunDirectory) -> set[tuple[str, str]]:
    """Give repository and step of each step of the tree that has begun and not ended, without fan-outs."""
    found = set()
    for paths, state in states(run):
        begun = set()
        for record in read_records(paths.journal):
            if isinstance(record, StepStarted):
                begun.add(record.step)
            if isinstance(record, StepFinished) and record.status != INTERRUPTED:
                begun.discard(record.step)
        if state.started is not None:
            found |= {(state.started.repository, step) for step in begun - set(state.fan_outs)}
    return found


def nothing_is_left(place: Place) -> None:
    """No process, no workspace, no lock, nothing to be looked after by the next one."""
    assert place.run is not None
    home = Home(place.tako.home)
    for run in root_runs(home):
        assert carrying(run.run_id) == set()
        assert workspaces_of(run) == []
        assert not any(map(_is_held, run.path.rglob("journal.jsonl")))
        assert not _is_held(run.lock)
        assert run.unfinished_values() == []
    assert [path for path in home.cache.locks.rglob("*.lock*") if path.is_file() and _is_held(path)] == []
    assert _names(home.trash) == _names(home.kept) == []
    # An entry is made before its run, which may never come.
    assert not any(home.run(name).path.exists() for name in _names(home.unsettled))


def _names(directory: Path) -> list[str]:
    return os.listdir(directory) if directory.exists() else []


def _is_held(path: Path) -> bool:
    """By flock(2) or by a lock of fcntl(2)."""
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
