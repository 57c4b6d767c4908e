from __future__ import annotations

from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.recovery.reap_preview import foreseen
from tako.recovery.reaper import try_reap
from tests.support.dead_runs import bytes_below, run_id, state_of, write, write_killed_tree


def test_what_is_foreseen_is_what_the_reaper_writes(home: Home) -> None:
    root = write_killed_tree(home)
    before = bytes_below(home.path)
    states = foreseen(root)
    assert bytes_below(home.path) == before
    assert len(states) == 6
    try_reap(home, root)
    assert states == {path: state_of(RunDirectory(path)) for path in states}


def test_what_is_damaged_is_not_foreseen(home: Home) -> None:
    root = write_killed_tree(home)
    child = root.child(run_id(2))
    child.journal.write_bytes(b"{}\n" + child.journal.read_bytes())
    assert child.path not in foreseen(root)
    assert root.path in foreseen(root)


def test_of_a_run_that_never_began_only_its_end_is_foreseen(home: Home) -> None:
    paths = home.run(run_id(0))
    write(paths)
    [state] = foreseen(paths).values()
    assert (state.status, state.started) == ("interrupted", None)
