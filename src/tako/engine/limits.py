"""Which limits hold for one step: the lowest of what it, its workflow and the machine say.

Pure. What nobody declares is the run's share of the machine: the machine divided by the jobs.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from attrs import evolve

from tako.config.schema import Step, Workflow
from tako.config.steps import all_steps
from tako.engine.resources import Amounts
from tako.errors import MachineError
from tako.sandbox.policy import Limits
from tako.units import format_bytes

_MILLI = 1000


class DoesNotFitError(MachineError):
    """A workflow declares more than this machine has."""


def step_limits(share: Limits, workflow: Workflow, step: Step) -> Limits:
    """The limits of one step; `share` is what a run gets that declares nothing."""
    memory = _declared("mem_limit", workflow, step)
    disk = _declared("disk_limit", workflow, step)
    tasks = _declared("process_limit", workflow, step)
    cpus = _declared("cpu_limit", workflow, step)
    cpu_time = _declared("cpu_time_limit", workflow, step)
    wall = share.processes
    return evolve(
        share,
        cpu_s=ceil(cpu_time) if cpu_time is not None else share.cpu_s,
        # Behind the step's own limit, also where that is higher than what others get.
        processes=wall + tasks if wall is not None and tasks is not None else wall,
        file_size=disk if disk is not None else share.file_size,
        address_space=_declared("address_space_limit", workflow, step),
        memory=memory if memory is not None else share.memory,
        memory_declared=memory is not None,
        disk=disk if disk is not None else share.disk,
        tasks=tasks if tasks is not None else share.tasks,
        cpus=cpus,
    )


def needs_of(workflow: Workflow) -> Amounts:
    """What a segment of the workflow declares: for each resource the most that one of its steps may use."""

    def most(name: str) -> Any:  # noqa: ANN401 - a size or CPUs
        declared = (_declared(name, workflow, step) for step in all_steps(workflow.steps))
        return max((value for value in declared if value is not None), default=None)

    cpus = most("cpu_limit")
    return Amounts(None if cpus is None else ceil(cpus * _MILLI), most("mem_limit"), most("disk_limit"))


def amounts(machine: Limits) -> Amounts:
    """What a whole machine has."""
    return Amounts(int((machine.cpus or 0) * _MILLI), machine.memory, machine.disk)


def check_fits(workflow: Workflow, machine: Limits) -> None:
    """Raise `DoesNotFitError` if the workflow or one of its steps declares more than the machine has."""
    for resources in (workflow.resources, *(step.resources for step in all_steps(workflow.steps))):
        if resources is not None:
            _check("mem_limit", resources.mem_limit, machine.memory)
            _check("disk_limit", resources.disk_limit, machine.disk)
            cpus = machine.cpus
            if resources.cpu_limit is not None and cpus is not None and resources.cpu_limit > cpus:
                message = f"it declares cpu_limit {resources.cpu_limit:g}, this machine has {cpus:g}"
                raise DoesNotFitError(message)


def _check(name: str, declared: int | None, there_is: int | None) -> None:
    if declared is not None and there_is is not None and declared > there_is:
        message = f"it declares {name} {format_bytes(declared)}, this machine has {format_bytes(there_is)}"
        raise DoesNotFitError(message)


def _declared(name: str, workflow: Workflow, step: Step) -> Any:  # noqa: ANN401 - a size, a count or CPUs
    given = [getattr(held, name) for held in (step.resources, workflow.resources) if held is not None]
    return min((value for value in given if value is not None), default=None)
