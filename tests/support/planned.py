"""Checks of any tako.yml: `tako validate` answers, and a fan-out plans the good repositories beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import field, frozen

from tako.cli.commands.validate import command as validate
from tako.config.schema import Settings, Workflow
from tako.engine.fan_out.child_runner_factory import ChildRunnerFactory
from tako.engine.fan_out.fan_out_executor import FanOutExecutor
from tako.engine.fan_out.plan import FanOutPlan
from tako.engine.resume.decision import fresh_run
from tako.engine.run.extra_mounts import extra_mounts
from tako.engine.run.run_ids import RunIds
from tako.engine.run.secrets import SecretKeeper
from tako.engine.run.spec import RunSpec
from tako.engine.scheduler.limits import check_fits
from tako.journal.codec import decode, encode
from tako.journal.records import EventEmitted, Record
from tako.repositories.discovery import Candidate, discover
from tako.repositories.known import KnownRepository
from tako.repositories.pins import Resolved
from tako.repositories.reference import Reference, Repository, parse_repository
from tako.repositories.sound_configs import SoundConfigs
from tako.sandbox.isolation import Isolation
from tako.sandbox.policy import Limits, Mount
from tests.support.records import T0, event
from tests.support.segments import run_spec

GOOD = """version: 0.1.0
workflows: {check: {on: event, inputs: {v: {}}, steps: [{run: 'true'}]}}
subscriptions:
  - {artifact: "acme/lib:default", events: [built], workflow: check,
     inputs: {v: "{{ .event.payload.version }}"},
     filters: ['event.payload.version == "1.2.3"']}
"""
PAYLOAD = {"version": "1.2.3", "n": 3, "tags": ["x", "y"], "deep": {"list": [1, 2.5, None]}}
_MACHINE = Limits(cpus=4, memory=8 << 30, disk=100 << 30)
_HOME = {"HOME": "/nowhere"}


@frozen
class Shelf:
    """A cache that holds one text for each repository."""

    files: dict[str, bytes]
    notes: list[str] = field(factory=list)

    def known(self) -> list[KnownRepository]:
        return [
            KnownRepository(parse_repository(name), "checkout", ("main",), "main", Path("/shelf", name))
            for name in self.files
        ]

    def default_config_bytes(self, known: KnownRepository) -> bytes:
        return self.files[known.repository.text]

    @property
    def sound(self) -> SoundConfigs:
        return SoundConfigs(Path("/nowhere/sound-configs"))

    def leave_out(self, repository: str, reason: str) -> None:
        assert repository in reason
        self.notes.append(reason)

    def discover(
        self, source: str, artifact: str, event_type: str, *, check: Callable[[], None]
    ) -> list[Candidate]:
        return list(discover(self, source, artifact, event_type, check=check))

    def resolve(self, reference: Reference, *, check: Callable[[], None]) -> Resolved:  # noqa: ARG002
        return Resolved(reference.repository, "main", "beef", "commit")

    def pinned(self, repository: Repository, branch: str, commit: str) -> Resolved:
        return Resolved(repository, branch, commit, "commit")

    def snapshot(self, resolved: Resolved, *, check: Callable[[], None]) -> Path:  # noqa: ARG002
        return Path("/shelf", resolved.repository.text)


def plan_beside_good_ones(text: str, directory: Path) -> FanOutPlan:
    """Plan a fan-out of three, as the root does it up to what its scheduler is given, and check it."""
    shelf = Shelf({"acme/a-good": GOOD.encode(), "acme/odd": text.encode(), "acme/z-good": GOOD.encode()})
    numbers = iter(range(1 << 20))
    secrets = SecretKeeper({}, lambda _names: {})
    executor = FanOutExecutor(
        shelf,
        RunIds(lambda: f"{next(numbers):08x}", lambda: T0),
        mounts=_mounts,
        require_secrets=secrets.require,
        clock=lambda: T0,
    )
    parent = run_spec(directory, repository="acme/lib", workflow=Workflow(name="release"))
    emitted = EventEmitted(T0, "fan", event(payload=PAYLOAD))
    plan = executor.plan(parent, emitted)
    _check(plan)
    _adopt(plan, parent, emitted)
    return plan


def _mounts(repository: Repository, workflow: Workflow) -> tuple[Mount, ...]:
    settings = Settings()
    check_fits(workflow, _MACHINE, settings.quotas.get("default", _NO_QUOTA))
    return extra_mounts(settings, _HOME, repository, workflow)


_NO_QUOTA = ChildRunnerFactory({}, Limits(), Isolation()).quota(parse_repository("acme/odd"))


def _check(plan: FanOutPlan) -> None:
    good = [child for child in plan.children if child.record.repository != "acme/odd"]
    assert [(child.record.repository, child.error) for child in good] == [
        ("acme/a-good", None),
        ("acme/z-good", None),
    ]
    errors = [child.error for child in plan.children if child.error is not None]
    assert [error for error in errors if error.kind == "internal_error"] == []
    records: list[Record] = [*plan.filtered, *(child.record for child in plan.children)]
    for record in records:
        assert decode(json.loads(json.dumps(encode(record)))) == record
    json.dumps([error.message for error in errors]).encode()


def _adopt(plan: FanOutPlan, parent: RunSpec, emitted: EventEmitted) -> None:
    factory = ChildRunnerFactory({}, Limits(), Isolation())
    for child in plan.children:
        if child.error is None:
            fresh_run(factory.spec(parent, emitted, child))


def validate_both_ways(text: str, directory: Path) -> Any:  # noqa: ANN401 - JSON
    """Run `tako validate` on a text; gives what it says as JSON."""
    from click.testing import CliRunner

    file = directory / "tako.yml"
    file.write_bytes(text.encode())
    said = CliRunner().invoke(validate, [str(file), "--output", "json"], standalone_mode=False)
    told = CliRunner().invoke(validate, [str(file)], standalone_mode=False)
    for result in (said, told):
        if result.exception is not None:
            raise result.exception
    assert said.return_value == told.return_value
    return json.loads(said.stdout)
