"""Which workflow of a tako.yml may run, for what cause, in this version."""

from __future__ import annotations

from tako.config.reading.problems import did_you_mean, mark_of
from tako.config.schema import Config, Workflow
from tako.config.unsupported import unsupported_keys
from tako.errors import ConfigError, NotFoundError, Problem, UsageError


def runnable(config: Config, name: str, cause: str) -> Workflow:
    """The workflow `name`, if it may be run for `cause` (exec or event) by this version.

    Raises `NotFoundError` with the known names, `UsageError`, or `ConfigError` with what is not supported.
    """
    workflow = config.workflows.get(name)
    if workflow is None:
        message = f"{config.file} has no workflow {name!r}{did_you_mean(name, config.workflows)}"
        raise NotFoundError(message)
    if cause not in workflow.on:
        allowed = ", ".join(workflow.on)
        message = f"workflow {name!r} of {config.file} does not run on {cause}; its `on` is {allowed}"
        raise UsageError(message)
    missing = unsupported_keys(workflow)
    if missing:
        raise ConfigError(tuple(_problem(config, key, what) for key, what in missing))
    return workflow


def _problem(config: Config, key: str, what: str) -> Problem:
    mark = mark_of(config.marks, key, config.file)
    return Problem(config.file, mark.line, mark.column, key, f"{what} is not supported yet")
