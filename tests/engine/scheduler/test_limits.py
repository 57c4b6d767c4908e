from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.config.schema import Resources, Settings, Step, Workflow
from tako.engine.run.quotas import quota_of
from tako.engine.scheduler.limits import DoesNotFitError, check_fits, needs_of, quota_claim, step_limits
from tako.engine.scheduler.resources import Amounts, Quota
from tako.repositories.reference import parse_repository
from tako.sandbox.policy import Limits

SHARE = Limits(file_size=900, processes=5000, memory=1000, disk=900, tasks=400)
NO_QUOTA = Resources()


def _workflow(of_step: Resources | None, of_workflow: Resources | None = None) -> Workflow:
    return Workflow(name="w", steps=(Step(id="a", run="true", resources=of_step),), resources=of_workflow)


def _limits(workflow: Workflow, quota: Resources = NO_QUOTA) -> Limits:
    return step_limits(SHARE, quota, workflow, workflow.steps[0])


def test_what_nobody_declares_is_the_share() -> None:
    assert _limits(_workflow(None)) == SHARE


def test_what_is_declared_may_be_more_than_the_share_and_the_lowest_counts() -> None:
    limits = _limits(_workflow(Resources(mem_limit=3000, process_limit=7), Resources(mem_limit=2000)))
    assert (limits.memory, limits.memory_declared, limits.tasks) == (2000, True, 7)
    # The wall stands behind the step's own limit.
    assert limits.processes == 5007


def test_a_quota_bounds_what_is_declared_and_what_is_not() -> None:
    quota = Resources(cpu_limit=0.5, mem_limit=100, disk_limit=200, process_limit=30, cpu_time_limit=1.5)
    for workflow in (_workflow(None), _workflow(Resources(process_limit=31, cpu_time_limit=90.0))):
        limits = _limits(workflow, quota)
        assert (limits.memory, limits.disk, limits.file_size, limits.tasks) == (100, 200, 200, 30)
        assert (limits.cpus, limits.cpu_s, limits.memory_declared) == (0.5, 2, True)


_AMOUNTS = st.none() | st.integers(1, 50)
_RESOURCES = st.builds(
    Resources, mem_limit=_AMOUNTS, disk_limit=_AMOUNTS, process_limit=_AMOUNTS, cpu_time_limit=_AMOUNTS
)


@given(_RESOURCES, _RESOURCES, _RESOURCES)
def test_a_limit_is_never_above_what_anybody_says(
    of_step: Resources, of_workflow: Resources, quota: Resources
) -> None:
    limits = _limits(_workflow(of_step, of_workflow), quota)
    held = {"mem_limit": limits.memory, "disk_limit": limits.disk, "process_limit": limits.tasks}
    for name, amount in {**held, "cpu_time_limit": limits.cpu_s}.items():
        said: list[Any] = [getattr(who, name) for who in (of_step, of_workflow, quota)]
        assert all(amount <= most for most in said if most is not None)
        assert amount in said or not any(said[:2])


def test_of_a_quota_a_segment_needs_what_its_steps_may_use() -> None:
    quota = Resources(mem_limit=100, cpu_limit=1.5)
    claim = quota_claim("Acme/Lib", SHARE, quota, _workflow(Resources(mem_limit=60, process_limit=9)))
    assert claim == Quota("acme/lib", Amounts(1500, 100), Amounts(1500, 60, 900, 9))
    assert quota_claim("acme/lib", SHARE, NO_QUOTA, _workflow(None)) == Quota()
    assert needs_of(_workflow(Resources(mem_limit=60))) == Amounts(memory=60)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (Resources(mem_limit=4 << 20), "it declares mem_limit 4.0 MiB, its quota in config.yml is 2.0 MiB"),
        (Resources(mem_limit=4 << 30), "it declares mem_limit 4.0 GiB, this machine has 1.0 GiB"),
        (Resources(cpu_limit=1.5), "it declares cpu_limit 1.5, its quota in config.yml is 1"),
        (Resources(cpu_limit=9.0), "it declares cpu_limit 9, this machine has 8"),
        (Resources(disk_limit=3 << 20), "it declares disk_limit 3.0 MiB, this machine has 2.0 MiB"),
    ],
)
def test_what_can_never_fit_is_refused(declared: Resources, message: str) -> None:
    machine = Limits(memory=1 << 30, disk=2 << 20, cpus=8.0)
    quota = Resources(mem_limit=2 << 20, cpu_limit=1.0)
    with pytest.raises(DoesNotFitError) as refused:
        check_fits(_workflow(declared), machine, quota)
    assert refused.value.message == message
    check_fits(_workflow(Resources(mem_limit=1 << 20, process_limit=10**6)), machine, quota)


def test_a_repository_has_its_own_quota_or_the_default() -> None:
    own, other = Resources(mem_limit=1), Resources(mem_limit=2)
    settings = Settings(quotas={"default": other, "Acme/Lib": own})
    assert quota_of(settings, parse_repository("acme/lib")) == own
    assert quota_of(settings, parse_repository("acme/app")) == other
    assert quota_of(Settings(), parse_repository("acme/app")) == NO_QUOTA
