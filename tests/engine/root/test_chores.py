"""What the root does with files of runs keeps its loop awake, and fails nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import pytest

from tako.engine.root import chores as module
from tako.engine.root.chores import Chores
from tako.engine.scheduler import stimuli as h
from tako.errors import MachineError
from tako.system.storage.removal import remove_tree

Mail = Queue[Callable[[], h.Stimulus | None]]


def test_the_loop_goes_on_meanwhile_and_hears_of_the_end() -> None:
    mail: Mail = Queue()
    go, said = threading.Event(), list[str]()
    chores = Chores(mail.put)
    chores.do(lambda: "done" if go.wait(60) else "", said.append)
    assert mail.empty()
    go.set()
    assert (mail.get(timeout=60)(), said) == (None, ["done"])
    chores.close(at_once=False)


def test_what_is_under_way_is_waited_for_unless_the_end_is_at_once() -> None:
    go, chores = threading.Event(), Chores(lambda _: None)
    chores.do(lambda: go.wait(60), lambda _: None)
    chores.close(at_once=True)
    go.set()
    chores.close(at_once=False)
    assert not any(thread.is_alive() for thread in chores._threads)


def test_what_cannot_be_removed_hurts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mail: Mail = Queue()
    chores = Chores(mail.put)
    remove = remove_tree

    def refuse(path: Path) -> None:
        if path.name == "of another user":
            raise MachineError("no")  # noqa: EM101
        remove(path)

    monkeypatch.setattr(module, "remove_tree", refuse)
    paths = [tmp_path / "of another user", tmp_path / "own", tmp_path / "link"]
    paths[0].mkdir()
    paths[1].mkdir()
    paths[2].symlink_to("nowhere")
    chores.remove(*paths)
    assert mail.get(timeout=60)() is None
    assert list(tmp_path.iterdir()) == paths[:1]
    chores.close(at_once=False)


def test_what_is_gone_needs_no_thread(tmp_path: Path) -> None:
    chores = Chores(lambda _: pytest.fail("posted"))
    chores.remove(tmp_path / "gone")
    assert chores._threads == []


def test_without_threads_it_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError

    mail: Mail = Queue()
    monkeypatch.setattr(threading.Thread, "start", none_left)
    Chores(mail.put).do(lambda: 1, lambda _: None)
    assert mail.get_nowait()() is None
