from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.segments import run, run_spec


@pytest.mark.parametrize(("after", "told"), [(1, True), (0, False)])
def test_a_kill_while_the_kernel_killed_for_memory_is_told_as_probably_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, told: bool
) -> None:
    """The kernel's counter is made up here: a machine that is really out of memory would end the tests."""
    counts = iter([0, after])
    # The worker is forked from this process and finds it so.
    monkeypatch.setattr("tako.engine.steps.process_tree.oom_kills", lambda: next(counts))
    finished = run(run_spec(tmp_path, "kill -KILL $$")).step()
    assert finished.message.startswith("killed by SIGKILL")
    assert ("lack of memory" in finished.message) is told
