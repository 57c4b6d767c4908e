"""What the root ends of a worker that died, and what it must not take for that."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.runner import clean_environment, run_program

#: A worker's orphans are ended when the forkserver leads a session and nobody knows its pid yet.
_AT_THE_WORST_MOMENT = """
import os, sys, threading, time
from multiprocessing import util
from tako.engine.workers.child_workflow_executor import ChildWorkflowExecutor
from tako.system.libc import become_subreaper
from tako.system.process.descendants import end_orphans

become_subreaper()
executor = ChildWorkflowExecutor(1, temporary=sys.argv[1])
spawn = util.spawnv_passfds

def spawned(path, arguments, descriptors):
    pid = spawn(path, arguments, descriptors)
    if "forkserver" in str(arguments[-1]):
        while os.getsid(pid) != pid:
            time.sleep(0.001)
        ending = threading.Thread(target=end_orphans, kwargs={"spare": executor._own_processes})
        ending.start()
        ending.join(0.5)
    return pid

util.spawnv_passfds = spawned
executor._new_slot().close()
executor.close()
"""


def test_a_forkserver_that_is_just_starting_is_no_orphan(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    words = [sys.executable, "-c", _AT_THE_WORST_MOMENT, str(private)]
    ended = run_program(words, clean_environment(tmp_path))
    assert (ended.code, ended.stderr) == (0, "")
