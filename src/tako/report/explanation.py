"""The plan of a resume, for people and programs: one line or one object for each step and child."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from tako.engine.resume.verdicts import ResumeVerdict, Verdict
from tako.system.terminal.text import plain
from tako.values import asdict

_SIGNS = {
    Verdict.KEPT: "=",
    Verdict.AGAIN: "↻",
    Verdict.FIRST: "▶",
    Verdict.ON_FAILURE: "?",
    Verdict.LEFT_OUT: "-",
}


def explanation_lines(findings: Iterable[ResumeVerdict]) -> Iterator[str]:
    """Return lines such as `  ↻ test  runs again: exit code 3`, indented as the tree is."""
    for finding in findings:
        name = finding.step or f"{finding.repository}  {finding.run_id}".rstrip()
        never = "; `rerun: never`" if finding.forbidden else ""
        indent = "  " * finding.depth
        why = f": {plain(finding.why.splitlines()[0])}" if finding.why else ""
        yield f"{indent}{_SIGNS[finding.verdict]} {name}  {finding.verdict}{why}{never}"


def explanation_json(findings: Iterable[ResumeVerdict]) -> str:
    """Return objects with `depth`, `repository`, `run_id`, `step`, `verdict`, `why`, `forbidden`."""
    return json.dumps([asdict(finding) for finding in findings])
