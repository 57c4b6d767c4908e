"""Any tako.yml at all: it is a good one or has mistakes, and never keeps another repository from running.

`nox -s stress` tries ten times as many (`TAKO_CASES`); what a case found stays below as an example.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings

from tests.support.planned import plan_beside_good_ones, validate_both_ways
from tests.support.tako_ymls import TAKO_YMLS

CASES = int(os.environ.get("TAKO_CASES", "200"))
_HEAD = 'version: 0.1.0\nsubscriptions: [{artifact: "acme/lib:default", events: [built], workflow: check}]\n'


def _with_input(declared: str) -> str:
    return f"{_HEAD}workflows: {{check: {{steps: [{{run: 'true'}}], inputs: {{v: {declared}}}}}}}\n"


@settings(max_examples=CASES, suppress_health_check=list(HealthCheck), print_blob=True)
@example(_with_input('{default: x, validation: {pattern: "("}}'))
@example(_with_input("{type: number, default: 1, validation: {min: .inf}}"))
@given(TAKO_YMLS)
def test_any_tako_yml_is_a_matter_of_its_own_repository(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        said = validate_both_ways(text, Path(directory))
        plan = plan_beside_good_ones(text, Path(directory))
    planned = [child for child in plan.children if child.record.repository == "acme/odd" and not child.error]
    assert said["subscriptions"] >= len(planned)
