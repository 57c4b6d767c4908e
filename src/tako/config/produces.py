"""Reads `produces:` of a step: artifacts, outputs, events."""

from __future__ import annotations

from collections.abc import Mapping

from tako.config.grammar import env_name_problem
from tako.config.names import check_artifact, inner_path, known_artifact, only_artifact
from tako.config.reading.problems import did_you_mean
from tako.config.reading.values import Value, check_name
from tako.config.schema import EventSpec, Produces
from tako.layout.names import path_problem

_KEYS = ("artifact", "artifacts", "outputs", "events")
_EVENT_KEYS = ("type", "schema_version", "payload")
_STREAMS = ("from_stdout", "from_stderr")
_SOURCES = (*_STREAMS, "from_file", "from_env")


def read_produces(value: Value, declared: Mapping[str, object]) -> Produces:
    """Read `produces:`; `declared` are the repository's artifacts."""
    table = value.table(_KEYS)
    artifact = table.get("artifact", lambda found: known_artifact(found, declared), "")
    target = artifact or only_artifact(declared)
    return Produces(
        artifact=artifact,
        artifacts=table.get("artifacts", lambda found: _artifacts(found, target, declared), {}),
        outputs=table.get("outputs", _outputs, {}),
        events=table.get("events", lambda found: tuple(_event(item) for item in found.items()), ()),
    )


def _artifacts(value: Value, target: str, declared: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    if value.is_list:
        return {target: _globs(value)}
    if not value.is_map:
        value.expected("a list of paths, or a mapping of artifacts to paths")
        return {}
    for name, item in value.entries().items():
        check_artifact(item, name, declared)
    return {name: _globs(item) for name, item in value.entries().items()}


def _globs(value: Value) -> tuple[str, ...]:
    if value.is_list:
        return tuple(inner_path(item) for item in value.filled_items())
    if not value.is_text:
        value.expected("a path or a list of paths")
        return ()
    return (inner_path(value),)


def _outputs(value: Value) -> dict[str, str]:
    return {name: _output(item) for name, item in value.entries().items() if check_name(item, name, "output")}


def _output(value: Value) -> str:
    text = value.filled_text()
    problem = _output_problem(text) if text.startswith("from_") else ""
    if problem:
        value.fail(problem)
    return text


def _output_problem(text: str) -> str:
    source, colon, rest = text.partition(":")
    if source not in _SOURCES:
        return f"unknown source {source!r} of an output{did_you_mean(source, _SOURCES)}"
    if source in _STREAMS:
        return f"{source!r} takes nothing after it, got {text!r}" if colon else ""
    if source == "from_env":
        return env_name_problem(rest)
    problem = path_problem(rest)
    return f"the path {rest!r} cannot be used: {problem}" if problem else ""


def _event(value: Value) -> EventSpec:
    table = value.table(_EVENT_KEYS)
    return EventSpec(
        type=table.need("type", lambda found: found.name("event type"), ""),
        schema_version=table.get("schema_version", Value.filled_text, "1.0.0"),
        payload=table.get(
            "payload", lambda found: {name: item.data() for name, item in found.entries().items()}, {}
        ),
    )
