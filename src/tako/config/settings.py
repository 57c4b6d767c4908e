"""Reads the user's own settings, `$TAKO_HOME/config.yml`.

In: a path. Out: frozen `Settings`; a missing or empty file means all defaults, a
wrong one is a `ConfigError` of the same quality as for a tako.yml.
"""

from __future__ import annotations

import os
import string
from pathlib import Path

from tako.config.declarations import outer_paths, read_resources, read_sandbox
from tako.config.grammar import env_name_problem, secret_name_problem
from tako.config.names import duration, env_names, outer_path, repository, timeout
from tako.config.reading.files import read_regular, text_of
from tako.config.reading.problems import Problems, did_you_mean
from tako.config.reading.values import Value
from tako.config.reading.yaml_walk import read_tree
from tako.config.schema import (
    FilterTime,
    KeptWorkspaces,
    MinFree,
    Resources,
    Sandbox,
    SandboxSettings,
    Settings,
)
from tako.layout.repository_names import repository_problem
from tako.units import parse_quantity

ISOLATION = ("auto", "process", "landlock", "namespace")
#: The key of `quotas` for every repository that has none of its own.
DEFAULT_QUOTA = "default"
QUOTA_KEYS = ("cpu_limit", "mem_limit", "disk_limit", "process_limit", "cpu_time_limit")
#: A larger reserve leaves nothing to work with.
_PERCENT_MAX = 90
URL_FIELDS = ("host", "owner", "name")
_KEYS = (
    "jobs", "isolation", "lock_timeout", "url_template", "repositories", "environment", "cache_dir",
    "sandbox", "secrets", "quotas", "filter_time", "keep_workspaces", "keep_runs", "strict", "min_free",
)  # fmt: skip


def load_settings(path: Path) -> Settings:
    """Return the settings of a file; `cache_dir` with `~/` replaced by the user's home.

    Raises `ConfigError` if it cannot be used.
    """
    problems = Problems(str(path))
    data = read_regular(path, problems, inside=False)
    if data is None or not data.strip():
        return Settings()
    root = Value(read_tree(text_of(data, problems), problems), "", problems)
    settings = _settings(root)
    problems.check()
    return settings


def _settings(root: Value) -> Settings:
    default = Settings()
    table = root.table(_KEYS)
    return Settings(
        jobs=table.get("jobs", lambda found: found.integer(1), None),
        isolation=table.get("isolation", lambda found: found.choice(ISOLATION), default.isolation),
        lock_timeout_s=table.get("lock_timeout", duration, default.lock_timeout_s),
        url_template=table.get("url_template", _url_template, ""),
        repositories=table.get("repositories", lambda found: tuple(map(repository, found.items())), ()),
        environment=table.get("environment", env_names, ()),
        sandbox=table.get("sandbox", _sandbox, default.sandbox),
        secrets=table.get("secrets", _grants, {}),
        quotas=table.get("quotas", _quotas, {}),
        filter_time=table.get("filter_time", _filter_time, default.filter_time),
        keep_workspaces=table.get("keep_workspaces", _kept, default.keep_workspaces),
        strict=table.get("strict", lambda found: found.boolean(), default.strict),
        keep_runs_s=table.get("keep_runs", duration, default.keep_runs_s),
        min_free=table.get(
            "min_free", lambda found: found.converted(_parse_min_free, default.min_free), default.min_free
        ),
        cache_dir=os.path.expanduser(table.get("cache_dir", outer_path, "")),  # noqa: PTH111  "" stays ""
    )


def _filter_time(value: Value) -> FilterTime:
    default = FilterTime()
    table = value.table(("repository", "fan_out"))
    return FilterTime(
        repository_s=table.get("repository", _positive, default.repository_s),
        fan_out_s=table.get("fan_out", _positive, default.fan_out_s),
    )


def _positive(value: Value) -> float:
    return timeout(value) or 0.0


def _parse_min_free(text: str) -> MinFree:
    if not text.endswith("%"):
        return MinFree(parse_quantity(text), None)
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= _PERCENT_MAX:
        message = f"expected a size such as 2Gi, or 0% to {_PERCENT_MAX}%, got {text!r}"
        raise ValueError(message)
    return MinFree(None, percent / 100)


def _kept(value: Value) -> KeptWorkspaces:
    default = KeptWorkspaces()
    table = value.table(("runs", "age", "bytes"))
    return KeptWorkspaces(
        runs=table.get("runs", lambda found: found.integer(0), default.runs),
        age_s=table.get("age", duration, default.age_s),
        size=table.get("bytes", lambda found: found.converted(parse_quantity, default.size), default.size),
    )


def _sandbox(value: Value) -> SandboxSettings:
    table = value.table(("read", "write", "tool_caches", "repositories"))
    return SandboxSettings(
        read=table.get("read", outer_paths, ()),
        write=table.get("write", outer_paths, ()),
        tool_caches=table.get("tool_caches", lambda found: tuple(map(_below_home, found.items())), ()),
        repositories=table.get("repositories", _of_repositories, {}),
    )


def _of_repositories(value: Value) -> dict[str, Sandbox]:
    granted = {}
    for name, item in value.entries().items():
        problem = repository_problem(name)
        if problem:
            item.note(problem)
        granted[name] = read_sandbox(item)
    return granted


def _quotas(value: Value) -> dict[str, Resources]:
    quotas = {}
    for name, item in value.entries().items():
        problem = "" if name == DEFAULT_QUOTA else repository_problem(name)
        if problem:
            item.note(problem)
        quotas[name] = read_resources(item, QUOTA_KEYS)
    return quotas


def _grants(value: Value) -> dict[str, tuple[str, ...]]:
    granted = {}
    for name, item in value.entries().items():
        problem = env_name_problem(name) or secret_name_problem(name)
        if problem:
            item.note(problem)
        granted[name] = tuple(map(_plain_repository, item.items()))
    return granted


def _plain_repository(value: Value) -> str:
    text = value.text()
    problem = repository_problem(text) if value.is_text else ""
    if problem:
        value.fail(f"expected owner/name, got {text!r}: {problem}")
    return text


def _below_home(value: Value) -> str:
    """Return a path below the user's home, without the `~/`."""
    text = outer_path(value)
    if value.is_text and not text.startswith("~/"):
        value.fail(f"expected a path below the home, such as ~/.cache/pip, got {text!r}")
    return text.removeprefix("~/")


def _url_template(value: Value) -> str:
    text = value.filled_text()
    if value.is_text:
        problem = _url_problem(text)
        if problem:
            value.fail(problem)
    return text


def _url_problem(text: str) -> str:
    try:
        fields = [
            (name, form, change)
            for _, name, form, change in string.Formatter().parse(text)
            if name is not None
        ]
    except ValueError as error:
        return f"{text!r} is not a template: {error}"
    for name, form, change in fields:
        if name not in URL_FIELDS or form or change:
            return f"unknown field {{{name}}}{did_you_mean(name, URL_FIELDS)}"
    if "name" not in {name for name, _, _ in fields}:
        example = "https://{host}/{owner}/{name}.git"
        return f"expected a URL with {{name}} in it, such as {example}, got {text!r}"
    return ""
