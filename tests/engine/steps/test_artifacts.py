"""Artifacts of a step, collected after its processes are gone: all of what is named, or the reason."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tako.config.schema import Produces, Resources, Step
from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import secrets_of
from tako.engine.steps import artifacts as artifacts_module
from tako.engine.steps.artifacts import CollectionStoppedError, Collector, lines_of, stopping
from tako.engine.steps.orders import Orders
from tako.engine.steps.outputs import StepRefusedError
from tako.journal.parts import LeftOut
from tako.journal.records import ArtifactCollected
from tako.journal.statuses import CANCELLED
from tako.system.accounting.usage import disk_use
from tako.system.storage.globbing import Found
from tests.support.records import event
from tests.support.segments import Ran, run, run_spec

MIB = 1 << 20


def _artifacts(tmp_path: Path, script: str, *globs: str) -> Ran:
    return run(
        run_spec(tmp_path, Step(id="step-1", run=script, produces=Produces(artifacts={"dist": globs})))
    )


def test_artifacts_are_collected_with_their_hashes(tmp_path: Path) -> None:
    ran = _artifacts(
        tmp_path,
        "mkdir -p dist/sub; echo one > dist/a.whl; chmod +x dist/a.whl; echo two > dist/sub/b.whl; touch c",
        "dist/**/*.whl",
    )
    [one, two] = ran.state.artifacts["dist"].files
    assert (one.path, one.size, two.path) == ("dist/a.whl", 4, "dist/sub/b.whl")
    assert one.sha256 == "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806"
    kept = ran.spec.paths.artifacts / "dist" / "dist" / "a.whl"
    assert kept.read_text() == "one\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("script", "glob", "said"),
    [
        ("true", "dist/*", "artifact 'dist': no regular file matches 'dist/*'"),
        (
            "mkdir dist; ln -s /etc/passwd dist/p",
            "dist/*",
            "no regular file matches 'dist/*' (dist/p is a link with an absolute target)",
        ),
        ("mkdir dist; mkfifo dist/p", "dist/*", "no regular file matches 'dist/*' (dist/p is a FIFO)"),
        ("mkdir -p dist/d/e", "dist/", "no regular file matches 'dist/'"),
        ("mkdir -p dist/d", "dist/*", "no regular file matches"),
        ("ln -s /etc dist", "dist/passwd", "no regular file matches"),
    ],
)
def test_what_is_no_regular_file_of_the_workspace_is_no_artifact(
    tmp_path: Path, script: str, glob: str, said: str
) -> None:
    ran = _artifacts(tmp_path, script, glob)
    assert said in ran.step().message
    assert ran.state.artifacts == {}


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    ran = _artifacts(tmp_path, "mkdir d; cd d; seq 10001 | xargs touch", "d/*")
    assert "artifact 'dist': d/* matches more than 10000 files" in ran.step().message


def test_a_file_that_an_attempt_left_when_it_died_is_collected_again(tmp_path: Path) -> None:
    spec = run_spec(
        tmp_path, Step(id="step-1", run="echo new > f", produces=Produces(artifacts={"dist": ("f",)}))
    )
    make_directory(spec.paths)
    (spec.paths.artifacts / "dist").mkdir(parents=True)
    (spec.paths.artifacts / "dist" / "f").write_text("old, and longer\n")
    assert run(spec).state.artifacts["dist"].files[0].size == 4


def test_two_steps_may_add_to_one_artifact(tmp_path: Path) -> None:
    produces = Produces(artifacts={"dist": ("*.txt",)})
    steps = (
        Step(id="a", run="echo 1 > a.txt", produces=produces),
        Step(id="b", run="echo 2 > b.txt", produces=produces),
    )
    ran = run(run_spec(tmp_path, *steps))
    assert ran.end.status == "succeeded", ran.end.message
    assert [file.path for file in ran.state.artifacts["dist"].files] == ["a.txt", "b.txt"]


def test_an_artifact_whose_place_is_taken_by_another_fails_the_step_alone(tmp_path: Path) -> None:
    steps = (
        Step(id="a", run="echo 1 > x", produces=Produces(artifacts={"dist": ("x",)})),
        Step(id="b", run="rm x; mkdir x; echo 2 > x/y", produces=Produces(artifacts={"dist": ("x/y",)})),
    )
    ran = run(run_spec(tmp_path, *steps))
    assert "its artifacts cannot be kept" in ran.step("b").message
    assert not ran.end.machine_fault


def test_a_childs_steps_find_the_artifacts_of_the_event(tmp_path: Path) -> None:
    (tmp_path / "made" / "wheel").mkdir(parents=True)
    (tmp_path / "made" / "wheel" / "lib.whl").write_text("a wheel\n")
    spec = run_spec(
        tmp_path, "cat $TAKO_ARTIFACTS/wheel/lib.whl", event=event(), received_from=tmp_path / "made"
    )
    assert run(spec).log() == "a wheel\n"


def test_a_file_that_vanishes_while_it_is_collected_fails_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts_module, "find_beneath", lambda *_: Found(("gone",)))
    ran = _artifacts(tmp_path, "true", "*")
    assert ran.step().message == "artifact file 'gone': gone is missing"


def _with_secrets(tmp_path: Path, script: str, produces: Produces, **values: str) -> Ran:
    step = Step(id="step-1", run=script, secrets=tuple(values), produces=produces)
    return run(run_spec(tmp_path, step), secrets=secrets_of(values))


def test_an_artifact_that_holds_a_secret_is_not_kept(tmp_path: Path) -> None:
    script = 'head -c 1048570 /dev/zero > file; printf %s "$A" >> file; echo fine > other'
    produces = Produces(artifacts={"all": ("file", "other")})
    ran = _with_secrets(tmp_path, script, produces, A="value-of-it")
    assert ran.step().status == "failed"
    assert ran.step().message.startswith("artifact file 'file' holds the value of a secret of this run")
    assert not list(ran.spec.paths.artifacts.rglob("*"))


def test_a_directory_in_place_of_an_artifact_file_is_refused_with_secrets_too(tmp_path: Path) -> None:
    ran = _with_secrets(tmp_path, "mkdir file", Produces(artifacts={"all": ("file",)}), A="value-of-it")
    assert ran.step().message == "artifact 'all': no regular file matches 'file'"


_TREE = """
mkdir -p dist/.cache dist/lib dist/empty/inner
echo a >dist/.hidden; echo b >dist/.cache/b; echo so >dist/lib/lib.so.1
ln -s lib.so.1 dist/lib/lib.so; ln -s ../.hidden dist/lib/up; ln -s lib dist/libs
ln -s ../../../../secret dist/out; ln -s /etc/passwd dist/abs
ln -s ../src dist/src; ln -s nowhere dist/dangling; mkfifo dist/pipe
"""
_KEPT_LINKS = {
    "dist/dangling": "nowhere",
    "dist/lib/lib.so": "lib.so.1",
    "dist/lib/up": "../.hidden",
    "dist/libs": "lib",
    "dist/src": "../src",
}
_LEFT_OUT = (
    LeftOut("dist/abs", "is a link with an absolute target"),
    LeftOut("dist/out", "is a link that leads outside"),
    LeftOut("dist/pipe", "is a FIFO"),
    LeftOut("dist/dangling", "points to 'nowhere', which is not kept"),
    LeftOut("dist/src", "points to '../src', which is not kept"),
)


def _collected(ran: Ran) -> ArtifactCollected:
    assert ran.end.status == "succeeded", ran.end.message
    return ran.state.artifacts["dist"]


def test_all_of_a_directory_is_kept_and_what_is_not_is_told_with_its_reason(tmp_path: Path) -> None:
    ran = _artifacts(tmp_path, _TREE, "dist/")
    made = _collected(ran)
    assert [file.path for file in made.files] == ["dist/.cache/b", "dist/.hidden", "dist/lib/lib.so.1"]
    assert (made.links, made.empty_directories) == (_KEPT_LINKS, ("dist/empty/inner",))
    assert made.left_out == _LEFT_OUT
    kept = ran.spec.paths.artifacts / "dist" / "dist"
    assert (kept / "libs" / "lib.so").read_text() == "so\n"
    assert (kept / "lib" / "up").read_text() == "a\n"
    assert (kept / "empty" / "inner").is_dir()
    assert not (kept / "out").is_symlink()
    assert "tako: artifact dist: left out: 'dist/pipe' is a FIFO\n" in ran.log()


def test_a_child_finds_the_same_tree(tmp_path: Path) -> None:
    made = _artifacts(tmp_path, _TREE, "dist/")
    script = 'cd "$TAKO_ARTIFACTS/dist/dist"; cat libs/lib.so lib/up .cache/b; readlink libs; ls -A empty'
    (tmp_path / "child").mkdir()
    spec = run_spec(tmp_path / "child", script, event=event(), received_from=made.spec.paths.artifacts)
    assert run(spec).log() == "so\na\nb\nlib\ninner\n"


def test_links_and_directories_of_an_earlier_step_make_way(tmp_path: Path) -> None:
    produces = Produces(artifacts={"dist": ("dist/",)})
    steps = (
        Step(id="a", run="mkdir -p dist/real; echo 1 >dist/real/x; ln -s real dist/d", produces=produces),
        Step(id="b", run="rm dist/d; mkdir dist/d; echo 2 >dist/d/x", produces=produces),
    )
    ran = run(run_spec(tmp_path, *steps))
    assert ran.end.status == "succeeded", ran.step("b").message
    kept = ran.spec.paths.artifacts / "dist" / "dist"
    assert ((kept / "real" / "x").read_text(), (kept / "d" / "x").read_text()) == ("1\n", "2\n")


def test_a_file_with_several_names_is_copied_once_here_and_for_a_child(tmp_path: Path) -> None:
    script = "mkdir d; head -c 1000000 /dev/urandom >d/a; for n in b c d e; do ln d/a d/$n; done"
    ran = _artifacts(tmp_path, script, "d/")
    kept = ran.spec.paths.artifacts / "dist" / "d"
    assert {path.stat().st_ino for path in kept.iterdir()} == {(kept / "a").stat().st_ino}
    assert len({file.sha256 for file in _collected(ran).files}) == 1
    (tmp_path / "child").mkdir()
    spec = run_spec(
        tmp_path / "child",
        'stat -c %h "$TAKO_ARTIFACTS/dist/d/e"',
        event=event(),
        received_from=ran.spec.paths.artifacts,
    )
    assert run(spec).log() == "5\n"


def test_holes_are_kept_here_and_for_a_child(tmp_path: Path) -> None:
    ran = _artifacts(tmp_path, "echo data >f; truncate -s 300M f; echo end >>f", "f")
    [file] = _collected(ran).files
    kept = ran.spec.paths.artifacts / "dist" / "f"
    assert (file.size, kept.stat().st_size) == (300 * MIB + 4, 300 * MIB + 4)
    assert disk_use([kept.parent]) < MIB
    (tmp_path / "child").mkdir()
    spec = run_spec(
        tmp_path / "child",
        'cd "$TAKO_ARTIFACTS/dist"; stat -c %b f; head -c 4 f; tail -c 4 f',
        event=event(),
        received_from=ran.spec.paths.artifacts,
    )
    blocks, content = run(spec).log().split()
    assert (int(blocks) * 512 < MIB, content) == (True, "dataend")


def test_artifacts_take_no_more_than_the_limit_of_disk_leaves(tmp_path: Path) -> None:
    produces = Produces(artifacts={"one": ("f*",), "two": ("*",)})
    few = Resources(disk_limit=20 * MIB)
    script = "for n in 1 2; do head -c 6000000 /dev/zero | tr '\\0' x >f$n; done"
    ran = run(run_spec(tmp_path, Step(id="step-1", run=script, produces=produces, resources=few)))
    finished = ran.step()
    assert (finished.status, finished.limit, finished.limit_value) == ("failed", "disk", 20 * MIB)
    assert finished.message == "its artifacts are more than its limit of disk, or min_free, leaves"
    assert [path for path in ran.spec.paths.artifacts.rglob("*") if path.is_file()] == []


def test_a_link_or_an_empty_directory_with_a_secret_in_its_name_is_refused(tmp_path: Path) -> None:
    for number, script in enumerate(('ln -s "$A" d/link', 'mkdir "d/$A"')):
        (tmp_path / str(number)).mkdir()
        produces = Produces(artifacts={"all": ("d/",)})
        own = tmp_path / str(number)
        ran = _with_secrets(own, f"mkdir d; touch d/f; {script}", produces, A="value-of-it")
        assert "has in its name the value of a secret" in ran.step().message


def test_what_is_left_out_is_told_without_a_secret(tmp_path: Path) -> None:
    produces = Produces(artifacts={"all": ("d/",)})
    ran = _with_secrets(tmp_path, 'mkdir d; touch d/f; mkfifo "d/$A"', produces, A="value-of-it")
    assert ran.state.artifacts["all"].left_out == (LeftOut("d/***", "is a FIFO"),)
    assert "value-of-it" not in ran.log()


def test_collecting_ends_when_the_run_is_to_end_or_its_time_is_over(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, Step(id="step-1", produces=Produces(artifacts={"dist": ("*",)})))
    make_directory(spec.paths)
    spec.paths.repo.mkdir(parents=True)
    (spec.paths.repo / "f").touch()
    orders = Orders()
    try:
        with pytest.raises(StepRefusedError, match="took longer than 0ms to collect"):
            Collector(spec, spec.workflow.steps[0], check=stopping(orders, within_s=0.0)).collect()
        orders.stop = CANCELLED
        with pytest.raises(CollectionStoppedError) as caught:
            Collector(spec, spec.workflow.steps[0], check=stopping(orders)).collect()
        assert caught.value.status == CANCELLED
    finally:
        orders.close()


def test_only_some_of_very_many_that_are_left_out_are_told(tmp_path: Path) -> None:
    ran = _artifacts(tmp_path, "mkdir d; touch d/f; for n in $(seq 25); do mkfifo d/p$n; done", "d/")
    assert len(_collected(ran).left_out) == 25
    assert ran.log().count("left out: ") == 20
    assert ran.log().endswith("5 more are left out; the journal names them\n")
    assert lines_of({}) == []
