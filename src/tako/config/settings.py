"""Reads the user's own settings, `$TAKO_HOME/config.yml`.

A path flows in, frozen `Settings` flow out; a missing or empty file means all defaults, a
wrong one is a `ConfigError` of the same quality as for a tako.yml.
"""

from __future__ import annotations

import os
import string
from pathlib import Path

from tako.config.files import read_regular, text_of
from tako.config.names import duration, env_names, outer_path, repository
from tako.config.problems import Problems, did_you_mean
from tako.config.schema import Settings
from tako.config.values import Value
from tako.config.yaml_walk import read_tree

ISOLATION = ("auto", "process", "landlock", "namespace")
URL_FIELDS = ("host", "owner", "name")
_KEYS = (
    "jobs", "isolation", "lock_timeout", "url_template", "repositories", "environment", "cache_dir",
)  # fmt: skip


def load_settings(path: Path) -> Settings:
    """Give the settings of a file; `cache_dir` with `~/` replaced by the user's home.

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
        cache_dir=os.path.expanduser(table.get("cache_dir", outer_path, "")),  # noqa: PTH111  "" stays ""
    )


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
