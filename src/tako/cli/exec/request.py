"""The user's request to `tako exec`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tako.layout.home import Home
from tako.values import value

ASK, YES, NO = "ask", "yes", "no"


@value
class Request:
    """One call of `tako exec`; empty texts and None mean "not given"."""

    workflow: str
    inputs: Mapping[str, str]
    home: Home
    directory: Path
    repository: str = ""
    jobs: int | None = None
    local: bool = False
    isolation: str = ""
    lock_timeout: str = ""
    #: Each `NAME=owner/name`.
    grants: tuple[str, ...] = ()
    output: str = "text"
    quiet: bool = False
    keep: bool = False
    #: Whether some kinds of warnings fail a fan-out; None leaves it to the settings.
    strict: bool | None = None
    #: The run that is to be taken up again, with what follows.
    resume: str = ""
    failed_only: bool = False
    explain: bool = False
    accept_changes: bool = False
    #: Whether steps with `rerun: never` may run again: ask, yes or no.
    rerun: str = ASK
