"""From the bytes of a tako.yml to a `Config`, or to every mistake in it at once.

In: bytes or a path. Out: one frozen `Config`. A file that cannot be used raises
`ConfigError`, one that is not there `NotFoundError`. Templates, CEL and version ranges stay
texts here; `validation.check` knows what is in them.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tako.config.names import inner_path
from tako.config.reading.files import read_regular, text_of
from tako.config.reading.problems import Problems
from tako.config.reading.values import Table, Value, check_name
from tako.config.reading.yaml_walk import read_tree
from tako.config.schema import Artifact, Config
from tako.config.workflows import read_subscriptions, read_workflows
from tako.errors import NotFoundError
from tako.values import evolve

_KEYS = ("version", "artifacts", "workflows", "subscriptions")
_ARTIFACT_KEYS = ("path", "ecosystem", "description")
_VERSION = re.compile(r"[01](?:\.[0-9]+){0,2}")
_MINIMAL = """a minimal tako.yml:
    version: 0.1.0
    workflows:
      hello:
        steps:
          - run: echo hello"""


def load_config_file(path: Path) -> Config:
    """Read a tako.yml.

    Raises `NotFoundError` if there is none, `ConfigError` if it cannot be used.
    """
    data = read_regular(path, Problems(str(path)), inside=True)
    if data is None:
        message = f"{path} does not exist"
        raise NotFoundError(message, hint=_MINIMAL)
    return load_config(data, str(path))


def load_config(data: bytes, file: str) -> Config:
    """Return the `Config` that `data` holds; `file` names it in messages and marks.

    Raises `ConfigError` with all problems.
    """
    problems = Problems(file, hint_if_empty=_MINIMAL)
    root = Value(read_tree(text_of(data, problems), problems), "", problems)
    config = _config(root.table(_KEYS))
    problems.check()
    return evolve(config, file=file, digest=hashlib.sha256(data).hexdigest(), marks=problems.marks)


def _config(table: Table) -> Config:
    none: dict[str, Artifact] = {}
    artifacts = table.get("artifacts", _artifacts, none)
    return Config(
        version=table.need("version", _version, ""),
        artifacts=artifacts,
        workflows=table.get("workflows", lambda found: read_workflows(found, artifacts), {}),
        subscriptions=table.get("subscriptions", read_subscriptions, ()),
    )


def _version(value: Value) -> str:
    text = value.text()
    if value.is_text and not _VERSION.fullmatch(text):
        value.fail(f"expected a version of the format, 0.x or 1.x such as 0.1.0, got {text!r}")
    return text


def _artifacts(value: Value) -> dict[str, Artifact]:
    return {
        name: _artifact(name, item)
        for name, item in value.entries().items()
        if check_name(item, name, "artifact")
    }


def _artifact(name: str, value: Value) -> Artifact:
    table = value.table(_ARTIFACT_KEYS)
    return Artifact(
        name=name,
        path=table.get("path", inner_path, ""),
        ecosystem=table.get("ecosystem", Value.text, ""),
        description=table.get("description", Value.text, ""),
    )
