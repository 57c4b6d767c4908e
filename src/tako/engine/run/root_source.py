"""Where a root run comes from: the user's checkout, or with `--repo` a clean copy out of the cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tako.config.schema import Config, Workflow
from tako.errors import NotFoundError
from tako.layout.names import CONFIG_NAME, has_config, is_top
from tako.values import value


@value
class RootSource:
    """What a root run is made from, before it has an id."""

    repository: str
    branch: str
    commit: str
    source: Path
    config: Config
    workflow: Workflow
    inputs: Mapping[str, Any]
    in_place: bool
    tracked_changes: str = ""


def find_checkout(directory: Path) -> Path:
    """The nearest directory upwards that holds a tako.yml, not above the git repository's top.

    Raises `NotFoundError`.
    """
    for candidate in (directory, *directory.parents):
        if has_config(candidate):
            return candidate
        if is_top(candidate):
            break
    message = f"there is no {CONFIG_NAME} in {directory}" + (
        "" if candidate == directory else f", nor above it up to {candidate}"
    )
    raise NotFoundError(message, hint=f"start with a {CONFIG_NAME} as the README shows, or use --root DIR")
