"""Texts of others that reach a shell unquoted: a name such as `$(rm -rf .)` would run there.

In: a loaded `Config`. Out: warnings with their key paths. Written by others are events, what steps and
children gave as outputs, inputs that subscriptions feed, and variables of `env` that hold one of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tako.config.schema import Config, Step, Workflow, all_steps
from tako.errors import UsageError
from tako.expressions.text import has_template
from tako.values import field, value

if TYPE_CHECKING:
    from tako.expressions.templates import Template

_EVENT_ONLY = ("event",)
_OUTPUTS = "outputs"


@value
class _Foreign:
    """The inputs and variables of one workflow that others decide, each with its explanation."""

    inputs: Mapping[str, str]
    env: Mapping[str, str] = field(factory=dict)

    def of(self, path: tuple[str, ...]) -> str | None:
        """Return why a path is foreign, with nothing to add for some; None if it is not."""
        root, *rest = path
        if root == "event":
            return ""
        if root == "steps":
            return "" if len(rest) < 2 or rest[1] == _OUTPUTS else None
        known = {"inputs": self.inputs, "env": self.env}.get(root, {})
        if not rest:
            return next(iter(known.values()), None)
        return known.get(rest[0])


def unquoted_texts(config: Config) -> Iterator[tuple[str, str]]:
    """Return a warning for each place in a script where such a text is not quoted."""
    for workflow in config.workflows.values():
        foreign = _foreign(config, workflow)
        for step in all_steps(workflow.steps):
            yield from _unquoted(step, foreign)


def _foreign(config: Config, workflow: Workflow) -> _Foreign:
    inputs = _Foreign(dict(_fed(config, workflow)))
    env = {}
    for name, text in workflow.env.items():
        template = _template(text)
        found = [path for path in template.names if inputs.of(path) is not None] if template else []
        if found:
            env[name] = f" (it holds {'.'.join(found[0])!r})"
    return _Foreign(inputs.inputs, env)


def _fed(config: Config, workflow: Workflow) -> Iterator[tuple[str, str]]:
    """The inputs that may be any text of somebody else's: others have to be numbers, or one of a few."""
    feeding = [each for each in config.subscriptions if each.workflow == workflow.name]
    for declared in workflow.inputs.values():
        if declared.type != "string" or declared.validation.enum:
            continue
        given = [each for each in feeding if _is_template(each.inputs.get(declared.name))]
        if given:
            yield declared.name, f" ({given[0].key} feeds it)"
        elif not feeding and workflow.on == _EVENT_ONLY:
            yield declared.name, " (events start this workflow)"


def _is_template(given: object) -> bool:
    return isinstance(given, str) and has_template(given)


def _template(text: str) -> Template | None:
    if not has_template(text):
        return None
    from tako.expressions.templates import parse_template

    try:
        return parse_template(text)
    except UsageError:
        # It is told as a mistake.
        return None


def _unquoted(step: Step, foreign: _Foreign) -> Iterator[tuple[str, str]]:
    template = _template(step.run)
    for path, line in template.unquoted_places if template else ():
        why = foreign.of(path)
        if why is not None:
            where = f" in line {line} of the script" if "\n" in step.run.rstrip("\n") else ""
            message = (
                f"{'.'.join(path)!r} comes from elsewhere{why} and reaches the shell unquoted{where};"
                " add '| shell_quote'"
            )
            yield f"{step.key}.run", message
