"""Which limits hold for one step: the lowest of what it, its workflow, its quota and the machine say.

Pure. What nobody declares is the run's share of the machine: the machine divided by the jobs.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from tako.config.schema import Resources, Step, Workflow, all_steps
from tako.engine.scheduler.resources import Amounts, Quota
from tako.errors import MachineError
from tako.sandbox.policy import Limits
from tako.units import format_bytes
from tako.values import evolve

_MILLI = 1000


class DoesNotFitError(MachineError):
    """A workflow declares more than this machine has, or than its repository may use."""


def step_limits(share: Limits, quota: Resources, workflow: Workflow, step: Step) -> Limits:
    """The limits of one step; `share` is what a run gets that declares nothing."""

    def lowest(name: str, undeclared: Any) -> Any:  # noqa: ANN401 - a size, a count, seconds or CPUs
        declared = _declared(name, workflow, step)
        return _least(undeclared if declared is None else declared, getattr(quota, name))

    disk = lowest("disk_limit", share.disk)
    tasks = lowest("process_limit", share.tasks)
    cpu_time = lowest("cpu_time_limit", share.cpu_s)
    declared_tasks = _declared("process_limit", workflow, step)
    wall = share.processes
    return evolve(
        share,
        cpu_s=None if cpu_time is None else ceil(cpu_time),
        file_size=lowest("disk_limit", share.file_size),
        # Behind the step's own limit, also where that is higher than what others get.
        processes=wall + declared_tasks if wall is not None and declared_tasks is not None else wall,
        address_space=_declared("address_space_limit", workflow, step),
        memory=lowest("mem_limit", share.memory),
        memory_declared=lowest("mem_limit", None) is not None,
        disk=disk,
        tasks=tasks,
        cpus=lowest("cpu_limit", None),
    )


def needs_of(workflow: Workflow) -> Amounts:
    """What a segment of the workflow declares: for each resource the most that one of its steps may use."""

    def most(name: str) -> Any:  # noqa: ANN401 - a size, a count or CPUs
        declared = (_declared(name, workflow, step) for step in all_steps(workflow.steps))
        return max((value for value in declared if value is not None), default=None)

    return _amounts(most("cpu_limit"), most("mem_limit"), most("disk_limit"), None)


def amounts(machine: Limits) -> Amounts:
    """What a whole machine has; tasks are not handed out from a stock."""
    return Amounts(int((machine.cpus or 0) * _MILLI), machine.memory, machine.disk)


def quota_claim(repository: str, share: Limits, quota: Resources, workflow: Workflow) -> Quota:
    """What a segment of the workflow takes of its quota: the most that one of its steps may use."""
    most = _amounts(quota.cpu_limit, quota.mem_limit, quota.disk_limit, quota.process_limit)
    if most == Amounts():
        return Quota()
    limits = [step_limits(share, quota, workflow, step) for step in all_steps(workflow.steps)]

    def largest(name: str) -> Any:  # noqa: ANN401 - a size, a count or CPUs
        return max((value for held in limits if (value := getattr(held, name)) is not None), default=None)

    needs = _amounts(largest("cpus"), largest("memory"), largest("disk"), largest("tasks"))
    return Quota(repository.lower(), most, needs)


def _amounts(cpus: float | None, memory: int | None, disk: int | None, tasks: int | None) -> Amounts:
    return Amounts(None if cpus is None else ceil(cpus * _MILLI), memory, disk, tasks)


def check_fits(workflow: Workflow, machine: Limits, quota: Resources) -> None:
    """Raise `DoesNotFitError` if the workflow or one of its steps declares more than it can ever have."""
    for resources in (workflow.resources, *(step.resources for step in all_steps(workflow.steps))):
        if resources is not None:
            _check("mem_limit", resources, machine.memory, quota)
            _check("disk_limit", resources, machine.disk, quota)
            _check("cpu_limit", resources, machine.cpus, quota)


def _check(name: str, resources: Resources, there_is: float | None, quota: Resources) -> None:
    declared, allowed = getattr(resources, name), getattr(quota, name)

    def told(amount: float) -> str:
        return f"{amount:g}" if name == "cpu_limit" else format_bytes(int(amount))

    if declared is not None and there_is is not None and declared > there_is:
        message = f"it declares {name} {told(declared)}, this machine has {told(there_is)}"
        raise DoesNotFitError(message)
    if declared is not None and allowed is not None and declared > allowed:
        message = f"it declares {name} {told(declared)}, its quota in config.yml is {told(allowed)}"
        raise DoesNotFitError(message)


def _declared(name: str, workflow: Workflow, step: Step) -> Any:  # noqa: ANN401 - a size, a count or CPUs
    given = [getattr(held, name) for held in (step.resources, workflow.resources) if held is not None]
    return min((value for value in given if value is not None), default=None)


def _least(*values: Any) -> Any:  # noqa: ANN401 - a size, a count, seconds or CPUs
    return min((value for value in values if value is not None), default=None)
