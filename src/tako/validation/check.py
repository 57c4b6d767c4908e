"""Checks beyond the schema: templates, conditions, version ranges, names across a file.

In: a loaded `Config`. Out: a list of `Problem`, ordered by place. Nothing is raised
for a mistake of the file and nothing is run. Errors are what would fail at run time in any
case; warnings are what is likely not meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from tako.config.inputs import coerced, value_problem
from tako.config.reading.problems import did_you_mean, in_order, mark_of
from tako.config.reading.texts import text_problem
from tako.config.reading.yaml_walk import child_key
from tako.config.schema import Config, Input, Step, Subscription, Workflow
from tako.config.unsupported import unsupported_keys
from tako.errors import Problem, UsageError
from tako.expressions.text import has_template
from tako.validation.check_names import Names, name_problem
from tako.validation.foreign import unquoted_texts
from tako.values import evolve

_Found = tuple[str, str]
_EVENT = "event"


def check_config(config: Config) -> list[Problem]:
    """Return every mistake that the loader could not see."""
    found = [problem for workflow in config.workflows.values() for problem in _workflow(workflow)]
    found += [
        problem for subscription in config.subscriptions for problem in _subscription(config, subscription)
    ]
    return _placed(config, found)


def check_workflow(config: Config, workflow: Workflow) -> list[Problem]:
    """Return every such mistake of one workflow: what is checked before it runs."""
    return _placed(config, list(_workflow(workflow)))


def check_warnings(config: Config) -> list[Problem]:
    """Return warnings: texts of others unquoted in a shell, and keys that this version refuses to run."""
    found: list[_Found] = []
    for workflow in config.workflows.values():
        found += [(key, f"{what} is not supported yet") for key, what in unsupported_keys(workflow)]
    found += unquoted_texts(config)
    return _placed(config, found)


def _placed(config: Config, found: list[_Found]) -> list[Problem]:
    problems = []
    for key, message in found:
        mark = mark_of(config.marks, key, config.file)
        problems.append(Problem(config.file, mark.line, mark.column, key, message))
    return list(in_order(problems))


def _workflow(workflow: Workflow) -> Iterator[_Found]:
    names = Names(
        inputs=tuple(workflow.inputs),
        steps=(),
        later=tuple(step.id for step in workflow.steps),
        env=None,
        event=_EVENT in workflow.on,
    )
    for name, text in workflow.env.items():
        yield from _text(child_key(f"{workflow.key}.env", name), text, names)
    ids = names.later
    for position, step in enumerate(workflow.steps):
        names = evolve(names, env=tuple(workflow.env), steps=ids[:position])
        yield from _step(step, names, workflow.steps[:position])
        for cleanup in step.on_failure:
            yield from _step(cleanup, evolve(names, steps=ids[: position + 1]), ())


def _step(step: Step, names: Names, earlier: tuple[Step, ...]) -> Iterator[_Found]:
    if step.condition:
        yield from _condition(f"{step.key}.if", step.condition, names.roots)
    yield from _text(f"{step.key}.run", step.run, names)
    for name, text in step.env.items():
        yield from _text(child_key(f"{step.key}.env", name), text, names)
    yield from _produces(step, evolve(names, outputs=True))
    if step.uses:
        yield from _fan_out(step, names, earlier)


def _produces(step: Step, names: Names) -> Iterator[_Found]:
    for name, text in step.produces.outputs.items():
        key = f"{step.key}.produces.outputs.{name}"
        if has_template(text):
            yield from _text(key, text, names)
        else:
            from tako.expressions.outputs import parse_output

            yield from _refused(key, partial(parse_output, text))
    for position, event in enumerate(step.produces.events):
        key = f"{step.key}.produces.events[{position}]"
        yield from _schema_version(f"{key}.schema_version", event.schema_version, names)
        yield from _payload(f"{key}.payload", event.payload, names)


def _fan_out(step: Step, names: Names, earlier: tuple[Step, ...]) -> Iterator[_Found]:
    event_type = str(step.with_.get("event_type", ""))
    types = [event.type for other in earlier for event in other.produces.events]
    if event_type not in types and "payload" not in step.with_:
        then = did_you_mean(event_type, types) or "; add it to 'produces.events' of one"
        message = f"no earlier step produces the event {event_type!r} and 'payload' is not given{then}"
        yield f"{step.key}.with.event_type", message
    names = evolve(names, outputs=event_type in types)
    yield from _payload(f"{step.key}.with.payload", step.with_.get("payload"), names)
    yield from _schema_version(
        f"{step.key}.with.schema_version", str(step.with_.get("schema_version", "")), names
    )


def _schema_version(key: str, text: str, names: Names) -> Iterator[_Found]:
    if has_template(text):
        yield from _text(key, text, names)
    elif text:
        from tako.expressions.semver import parse_version

        yield from _refused(key, lambda: parse_version(text))


def _subscription(config: Config, subscription: Subscription) -> Iterator[_Found]:
    if subscription.schema_version:
        from tako.events.ranges import parse_range

        yield from _refused(
            f"{subscription.key}.schema_version", lambda: parse_range(subscription.schema_version)
        )
    for position, text in enumerate(subscription.filters):
        yield from _condition(f"{subscription.key}.filters[{position}]", text, (_EVENT,))
    names = Names(inputs=None, steps=None, later=(), env=None, event=True)
    yield from _value(f"{subscription.key}.inputs", subscription.inputs, names)
    workflow = config.workflows.get(subscription.workflow)
    if workflow is None:
        then = did_you_mean(subscription.workflow, config.workflows)
        yield f"{subscription.key}.workflow", f"there is no workflow {subscription.workflow!r}{then}"
        return
    if _EVENT not in workflow.on:
        message = f"the workflow {workflow.name!r} does not run on events; add 'event' to its 'on'"
        yield f"{subscription.key}.workflow", message
    yield from _inputs(subscription, workflow)


def _inputs(subscription: Subscription, workflow: Workflow) -> Iterator[_Found]:
    key = f"{subscription.key}.inputs"
    for name, value in subscription.inputs.items():
        declared = workflow.inputs.get(name)
        if declared is None:
            then = did_you_mean(name, workflow.inputs)
            yield child_key(key, name), f"the workflow {workflow.name!r} has no input {name!r}{then}"
        elif not (isinstance(value, str) and has_template(value)):
            yield from _constant(child_key(key, name), declared, value)
    for name, declared in workflow.inputs.items():
        if declared.required and name not in subscription.inputs:
            yield key, f"the workflow {workflow.name!r} requires the input {name!r}"


def _constant(key: str, declared: Input, value: object) -> Iterator[_Found]:
    try:
        problem = value_problem(declared, coerced(declared, value))
    except ValueError as error:
        problem = str(error)
    if problem:
        yield key, f"the input {problem}"


def _payload(key: str, value: object, names: Names) -> Iterator[_Found]:
    yield from _value(key, value, names)
    for where, text in _texts(key, value):
        problem = text_problem(text)
        if problem:
            yield where, f"this cannot be part of a payload: {problem}"


def _texts(key: str, value: object) -> Iterator[tuple[str, str]]:
    """Every text inside of plain data, keys too, with its place."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield child_key(key, name), name
            yield from _texts(child_key(key, name), item)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _texts(f"{key}[{position}]", item)


def _value(key: str, value: object, names: Names) -> Iterator[_Found]:
    """Check every text inside of plain data."""
    if isinstance(value, str):
        yield from _text(key, value, names)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _value(child_key(key, name), item, names)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _value(f"{key}[{position}]", item, names)


def _text(key: str, text: str, names: Names) -> Iterator[_Found]:
    if not has_template(text):
        return
    from tako.expressions.templates import parse_template

    try:
        template = parse_template(text)
    except UsageError as error:
        yield key, error.message
        return
    for path in template.names:
        problem = name_problem(path, names)
        if problem:
            yield key, problem


def _condition(key: str, text: str, roots: tuple[str, ...]) -> Iterator[_Found]:
    from tako.expressions.cel import compile_condition

    yield from _refused(key, lambda: compile_condition(text, roots))


def _refused(key: str, read: Callable[[], object]) -> Iterator[_Found]:
    """Return the objection of `read` to a text."""
    try:
        read()
    except UsageError as error:
        yield key, error.message
