"""The grammar of names, as plain text: workers use it too, and they load no parser of YAML."""

from __future__ import annotations

import re

from tako.layout.names import path_problem

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = "TAKO_"
#: What tako gives steps itself, or cannot do without.
_NO_SECRETS = frozenset(("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "PWD"))
_PART = re.compile(r"[A-Za-z0-9_.+@][A-Za-z0-9_.+@-]{0,99}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?")
_PARTS_MIN = 2
_REFERENCE_MAX = 200


def env_name_problem(name: str) -> str:
    """Return why a name cannot be one of an environment variable, or an empty text if it can."""
    if not _ENV_NAME.fullmatch(name):
        return (
            f"{name!r} is not a name of an environment variable: letters, digits and '_', not a digit first"
        )
    if name.upper().startswith(_RESERVED):
        return f"names that start with {_RESERVED} are tako's own, got {name!r}"
    return ""


def secret_name_problem(name: str) -> str:
    """Return why an environment variable cannot be a secret, or an empty text if it can."""
    return f"{name} cannot be a secret: every step has it" if name in _NO_SECRETS else ""


def reference_problem(reference: str) -> str:
    """Return why `[host/]owner[/group...]/name` cannot be used, or an empty text if it can.

    `repositories.reference` reads the same grammar; a test holds the two together.
    """
    problem = path_problem(reference)
    if problem:
        return problem
    if len(reference) > _REFERENCE_MAX:
        return f"it is longer than {_REFERENCE_MAX} characters"
    parts = reference.split("/")
    with_host = len(parts) > _PARTS_MIN and ("." in parts[0] or ":" in parts[0])
    if with_host and (not _HOST.fullmatch(parts[0]) or ".." in parts[0]):
        return f"{parts[0]!r} is not a host"
    names = parts[1:] if with_host else parts
    if len(names) < _PARTS_MIN:
        return "an owner and a name are needed"
    for part in names:
        if part == "." or not _PART.fullmatch(part):
            return f"the part {part!r} holds more than letters, digits, '.', '_', '-', '+' and '@'"
    return "leave '.git' off" if names[-1].lower().endswith(".git") else ""
