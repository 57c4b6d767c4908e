"""A quiet run says its warnings, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path

from tako.engine.fan_out.plan import FanOutPlan
from tako.report.only_warnings import OnlyWarnings
from tako.repositories.caveats import STALE, Caveat
from tests.support.segments import run_spec
from tests.support.told_runs import HOSTILE


def test_only_warnings_are_printed(tmp_path: Path) -> None:
    spec, stream = run_spec(tmp_path, "true"), io.StringIO()
    view = OnlyWarnings(stream)
    view.segment_started(spec)
    view.planned(spec, "fan", FanOutPlan(0, (), ()))
    view.worker_lost(spec, "it was killed")
    view.stopping("SIGINT")
    view.turn()
    view.segment_ended(spec)
    assert (stream.getvalue(), view.interval_s) == ("", None)
    view.warned(spec, "fan", Caveat(STALE, "acme/dep", f"acme/dep is {HOSTILE}"))
    view.warned(spec, "", Caveat(STALE, "acme/dep", "acme/dep is old"))
    assert stream.getvalue().splitlines() == [
        "tako: warning: acme/app fan: acme/dep is redover",
        "tako: warning: acme/app: acme/dep is old",
    ]
