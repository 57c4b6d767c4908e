"""A tako process that stands still for a while is not dead: nobody reaps its run or tries a step again.

No process of tako's times another's heartbeat: locks, pidfds and ends of pipes tell what is dead.
"""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.support.run_processes import parent_of, root_of, stop
from tests.support.scenes import FAN_OUT, Scene, children


@pytest.mark.parametrize("who", ["warden", "root", "worker", "step"])
def test_a_process_that_stands_still_is_not_taken_for_dead(scene: Scene, who: str) -> None:
    mail, go = scene.mailbox(), scene.mailbox("go")
    scene.subscriber("acme/app", f"echo $$ > {mail.path}; read line < {go.path}; echo again >> ran")
    checkout = scene.library("true", FAN_OUT)
    with scene.tako.started("exec", "release", "--keep", "-q", cwd=checkout) as process:
        shell = int(mail.line())
        stopped = {
            "warden": lambda: psutil.Process(process.pid),
            "root": lambda: root_of(process.pid),
            "worker": lambda: parent_of(shell),
            "step": lambda: psutil.Process(shell),
        }[who]()
        stop(stopped)
        [run] = scene.runs()
        [listed] = scene.tako("runs", "--output", "json").json
        assert listed["status"] == "running"
        reaped = scene.tako("reap")
        assert (reaped.code, f"{run.name}  runs: " in reaped.stdout) == (0, True), reaped.stderr
        assert scene.tako("exec", "--resume", run.name).code == 5
        stopped.send_signal(signal.SIGCONT)
        go.path.write_text("on\n")
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert mail.is_empty()
    app = children(scene.status())["acme/app"]
    assert (app["status"], app["attempts"]) == ("succeeded", 1)
