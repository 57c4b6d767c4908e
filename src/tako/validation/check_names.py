"""Which names a template may use at its place in a tako.yml; pure, without reading templates."""

from __future__ import annotations

from tako.config.reading.problems import did_you_mean
from tako.values import value

_STEP_FIELDS = ("outputs", "status", "exit_code")
_EVENT_FIELDS = ("type", "schema_version", "payload", "source", "run_id")


@value
class Names:
    """The names that exist at one place; None if the word itself has no meaning there.

    `steps` are the ids of the steps before, `later` those of all steps of the workflow.
    """

    inputs: tuple[str, ...] | None
    steps: tuple[str, ...] | None
    later: tuple[str, ...]
    env: tuple[str, ...] | None
    event: bool
    outputs: bool = False

    @property
    def roots(self) -> tuple[str, ...]:
        """The words a path may begin with."""
        known = (
            ("inputs", self.inputs is not None),
            ("steps", self.steps is not None),
            ("env", self.env is not None),
            ("event", self.event),
            ("outputs", self.outputs),
        )
        return tuple(word for word, exists in known if exists)


def name_problem(path: tuple[str, ...], names: Names) -> str:
    """Return why the path of a template leads to nothing, or an empty text if it may lead somewhere."""
    root, *rest = path
    if root not in names.roots:
        return _root_problem(root, names)
    if not rest:
        return ""
    if root == "steps":
        return _step_problem(rest, names)
    known = {"inputs": names.inputs, "env": names.env, "event": _EVENT_FIELDS}.get(root)
    if known is None or rest[0] in known:
        return ""
    return f"there is no {'.'.join(path[:2])!r}{did_you_mean(rest[0], known)}"


def _root_problem(root: str, names: Names) -> str:
    if root == "event":
        return "'event' exists only where events start the workflow; add 'event' to its 'on'"
    if root == "outputs":
        return "'outputs' exists only in what a step produces; elsewhere write steps.<id>.outputs.<name>"
    return f"there is no {root!r} here{did_you_mean(root, names.roots)}"


def _step_problem(rest: list[str], names: Names) -> str:
    steps = names.steps or ()
    if rest[0] not in steps:
        if rest[0] in names.later:
            return f"the step {rest[0]!r} has not run yet at this place"
        return f"there is no step {rest[0]!r}{did_you_mean(rest[0], steps)}"
    if len(rest) > 1 and rest[1] not in _STEP_FIELDS:
        return f"a step has no {rest[1]!r}{did_you_mean(rest[1], _STEP_FIELDS)}"
    return ""
