"""What a worker needs is there before it is forked: it lives for one segment, and would pay for it again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.isolations import LEVELS, need
from tests.support.modules import SOURCE
from tests.support.runner import clean_environment, run_program

#: Runs a segment of one step at level `argv[2]` in a slot's worker; prints how it ended.
_PROGRAM = """
import sys
from pathlib import Path
from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import Secrets, Segment
from tako.engine.workers import child_workflow_executor as workers
from tako.system.libc import become_subreaper
from tests.support.isolations import isolation
from tests.support.segments import run_spec

become_subreaper()
workers._PRELOAD.append("tests.support.counting_worker")
directory, level = Path(sys.argv[1]), sys.argv[2]
spec = run_spec(directory, 'echo "word=1" >> "$TAKO_OUTPUT"', isolation=isolation(level))
make_directory(spec.paths)
(directory / "tmp").mkdir()
executor = workers.ChildWorkflowExecutor(1, temporary=str(directory / "private"))
print(executor.submit(Segment(spec, 0, 1, str(directory / "tmp"), 10.0, Secrets())).result(100).status)
executor.close()
"""


@pytest.mark.parametrize("level", LEVELS)
def test_a_worker_loads_and_compiles_nothing(tmp_path: Path, level: str) -> None:
    need(level)
    for name in ("private", "said"):
        (tmp_path / name).mkdir()
    environment = {
        **clean_environment(tmp_path),
        "PYTHONPATH": str(SOURCE.parents[1]),
        "COUNTED": str(tmp_path / "said"),
    }
    ended = run_program([sys.executable, "-c", _PROGRAM, str(tmp_path), level], environment)
    assert (ended.code, ended.stdout.strip(), ended.stderr) == (0, "succeeded", "")
    (said,) = (tmp_path / "said").iterdir()
    assert json.loads(said.read_text()) == {"modules": [], "classes": []}
