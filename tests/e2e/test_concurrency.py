"""Many commands at the same time on one `TAKO_HOME`."""

from __future__ import annotations

import contextlib
import json

from tests.support.runner import GENEROUS_S
from tests.support.scenes import FAN_OUT, Scene, children, subscription, tako_yml, workflow

EXEC = ("exec", "release", "--output", "json")


def test_fifty_unrelated_runs_at_the_same_time_all_succeed(scene: Scene) -> None:
    together = scene.mailbox("together")
    go = scene.mailbox("go")
    release = tako_yml(
        {"release": workflow(f"echo here >{together.path}; read line <{go.path}", FAN_OUT, on="exec")}
    )
    checkouts = []
    for number in range(50):
        checkouts.append(scene.git_repo(f"team-{number}/lib", {"tako.yml": release}))
        for child in ("one", "two"):
            config = tako_yml({"check": workflow(f"echo {number}")}, [subscription(f"team-{number}/lib")])
            scene.checkout(f"team-{number}/{child}", {"tako.yml": config})
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(scene.tako.started(*EXEC, "--jobs", "1", cwd=checkout))
            for checkout in checkouts
        ]
        # All fifty are inside their first step before the first one goes on.
        together.lines(50)
        go.path.write_text("go\n" * 50)
        ended = [process.communicate(timeout=2 * GENEROUS_S) for process in started]
        assert [process.returncode for process in started] == [0] * 50, ended
    results = [json.loads(stdout) for stdout, _ in ended]
    assert len({result["run_id"] for result in results}) == 50
    for number, result in enumerate(results):
        found = children(result)
        assert sorted(found) == [f"team-{number}/one", f"team-{number}/two"]
        assert {child["status"] for child in found.values()} == {"succeeded"}
    listed = scene.tako("runs", "--output", "json", "--most", "100").json
    assert [row["status"] for row in listed] == ["succeeded"] * 50


def test_two_runs_on_a_cold_cache_make_each_snapshot_once(scene: Scene) -> None:
    together, go = scene.mailbox("together"), scene.mailbox("go")
    seen = scene.directory / "seen"
    files = {f"file-{number}.txt": f"{number}\n" for number in range(200)}
    scene.subscriber("acme/web", f"ls | wc -l >>{seen}", files=files)
    checkout = scene.library(f"echo here >{together.path}; read line <{go.path}", FAN_OUT)
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(scene.tako.started(*EXEC, cwd=checkout)) for _ in range(4)]
        together.lines(4)
        go.path.write_text("go\n" * 4)
        ended = [process.communicate(timeout=GENEROUS_S) for process in started]
        assert [process.returncode for process in started] == [0] * 4, ended
    commits = {children(json.loads(stdout))["acme/web"]["commit"] for stdout, _ in ended}
    [snapshots] = (scene.tako.home / "cache" / "snapshots").glob("*/*")
    made = [entry.name for entry in snapshots.iterdir() if entry.is_dir()]
    assert commits == set(made)
    assert len(made) == 1
    assert seen.read_text().split() == ["201"] * 4


def test_a_repository_is_changed_and_fetched_while_others_run_it(scene: Scene) -> None:
    """What a run pinned stays as it was; the next run sees the new state."""
    box, go = scene.mailbox(), scene.mailbox("go")
    source = scene.subscriber(
        "acme/web", f"echo in >{box.path}; read line <{go.path}; cat what.txt", files={"what.txt": "old\n"}
    )
    checkout = scene.library(FAN_OUT)
    with scene.tako.started(*EXEC, cwd=checkout) as process:
        box.line()
        (source / "what.txt").write_text("new\n")
        go.path.write_text("go\ngo\n")
        second = scene.tako(*EXEC, cwd=checkout)
        first, _ = process.communicate(timeout=GENEROUS_S)
    runs = [children(result)["acme/web"]["run_id"] for result in (json.loads(first), second.json)]
    texts = [scene.tako("logs", run).stdout for run in runs]
    assert texts == ["old\n", "new\n"]
