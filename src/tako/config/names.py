"""Texts with a grammar of their own that several parts of a file share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tako.config.grammar import env_name_problem, secret_name_problem
from tako.config.reading.problems import did_you_mean
from tako.config.reading.values import Value, check_name
from tako.layout.names import path_problem
from tako.layout.repository_names import reference_problem, repository_problem
from tako.units import parse_duration

DEFAULT_ARTIFACT = "default"


def env_name(value: Value) -> str:
    """Return the name of an environment variable that tako does not keep for itself."""
    text = value.text()
    if value.is_text:
        _check_env_name(value, text)
    return text


def env_names(value: Value) -> tuple[str, ...]:
    """Return a list of names of environment variables."""
    return tuple(env_name(item) for item in value.items())


def environment(value: Value) -> dict[str, str]:
    """Return an environment written as a mapping or as a list of NAME=value."""
    if value.is_list:
        return _environment_list(value)
    if not value.is_map:
        value.expected("a mapping or a list of NAME=value")
        return {}
    for name, item in value.entries().items():
        _check_env_name(item, name)
    return {name: item.text() for name, item in value.entries().items()}


def _environment_list(value: Value) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in value.items():
        name, equals, text = item.text().partition("=")
        if not equals:
            if item.is_text:
                item.fail(f"expected NAME=value, got {name!r}")
            continue
        _check_env_name(item, name)
        if name in found:
            item.fail(f"the name {name!r} appears twice")
        found.setdefault(name, text)
    return found


def _check_env_name(at: Value, name: str) -> None:
    problem = env_name_problem(name)
    if problem:
        at.note(problem)


def secret_names(value: Value) -> tuple[str, ...]:
    """Return a list of names of secrets, each once."""
    found: list[str] = []
    for item in value.items():
        name = env_name(item)
        problem = secret_name_problem(name)
        if item.is_text and name in found:
            problem = f"the name {name!r} appears twice"
        if problem:
            item.note(problem)
        found.append(name)
    return tuple(dict.fromkeys(found))


def duration(value: Value) -> float:
    """Return the seconds of a duration."""
    return value.converted(parse_duration, 0.0)


def timeout(value: Value) -> float | None:
    """Return the seconds of a duration above 0."""
    seconds = value.converted(parse_duration, None)
    if seconds == 0:
        value.fail("expected a duration above 0")
    return seconds


def inner_path(value: Value) -> str:
    """Return a relative path or glob that stays inside of its directory."""
    text = value.text()
    problem = path_problem(text) if value.is_text else ""
    if problem:
        value.fail(f"the path {text!r} cannot be used: {problem}")
    return text


def outer_path(value: Value) -> str:
    """Return an absolute path, or one below the user's home (`~/`), without `..`."""
    text = value.text()
    rest = text[2:] if text.startswith("~/") else text[1:]
    problem = "" if text.startswith(("/", "~/")) else "it neither is absolute nor starts with ~/"
    problem = problem or (path_problem(rest) if rest else "")
    if value.is_text and problem:
        value.fail(f"the path {text!r} cannot be used: {problem}")
    return text


def known_artifact(value: Value, declared: Mapping[str, object]) -> str:
    """Return the name of a declared artifact, or `default`."""
    text = value.text()
    if value.is_text:
        check_artifact(value, text, declared)
    return text


def check_artifact(at: Value, name: str, declared: Mapping[str, object]) -> None:
    """Note a mistake unless `name` is declared under `artifacts`."""
    if name == DEFAULT_ARTIFACT or name in declared or not check_name(at, name, "artifact"):
        return
    then = did_you_mean(name, declared) or "; add it under 'artifacts:'"
    at.note(f"the artifact {name!r} is not declared{then}")


def source_artifact(value: Value) -> str:
    """Return `[host/]owner[/group...]/name:artifact`."""
    text = value.text()
    reference, colon, artifact = text.rpartition(":")
    if not value.is_text:
        return text
    if not colon:
        value.fail(
            f"expected owner/name:artifact, got {text!r};"
            " use ':default' for a repository that declares no artifact"
        )
        return text
    problem = repository_problem(reference)
    if problem:
        value.fail(f"expected owner/name:artifact, got {text!r}: {problem}")
    check_name(value, artifact, "artifact")
    return text


def repository(value: Value) -> str:
    """Return `[host/]owner[/group...]/name[:branch]`."""
    text = value.text()
    problem = reference_problem(text)
    if value.is_text and problem:
        value.fail(f"expected owner/name[:branch], got {text!r}: {problem}")
    return text


def only_artifact(declared: Iterable[str]) -> str:
    """Return the only declared artifact, else `default`."""
    names = list(declared)
    return names[0] if len(names) == 1 else DEFAULT_ARTIFACT
