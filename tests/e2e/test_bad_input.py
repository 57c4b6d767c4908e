"""Wrong use and an unusable machine: a clear error, the right exit code, and nothing started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.git import git
from tests.support.runner import GENEROUS_S, Finished, command
from tests.support.scenes import FAN_OUT, Scene, Step, tako_yml, workflow
from tests.support.users import NOBODY

pytestmark = pytest.mark.forked

_RELEASE = {"release": workflow("echo started >started.txt", on="exec")}
_DEEP = "version: 0.1.0\nworkflows: " + "[" * 65
_MANY = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcd", "bcde", strict=True)
)


def _refused(scene: Scene, done: Finished, code: int, *said: str) -> None:
    """Check code and message, that it is no traceback, and that no run was begun."""
    assert done.code == code, done.stderr
    assert [text for text in said if text not in done.stderr] == []
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert scene.runs() == []


def _with_config(scene: Scene, config: str | bytes) -> Path:
    return scene.git_repo("acme/lib", {"tako.yml": config})


# --- tako.yml ---


def test_a_directory_without_config_is_told_what_to_do(scene: Scene) -> None:
    directory = scene.directory / "empty"
    directory.mkdir()
    _refused(scene, scene.tako("exec", "release", cwd=directory), 2, "no tako.yml", str(directory), "--root")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("version: 0.1.0\nworkflows:\n  release: [\n", "tako.yml:"),
        ("", "empty"),
        (b"\x7fELF\0\0\x01\x02", "tako.yml"),
        (b"version: 0.1.0\nname: \xff\xfe\n", "UTF-8"),
        (_DEEP, "nested more than 64 levels deep"),
        (_MANY, "alias"),
        ("version: 0.1.0\nversion: 0.2.0\n", "tako.yml:2:1"),
        ("version: 0.1.0\nworkflow: {}\n", "did you mean 'workflows'"),
        ("- a list\n", "mapping"),
        ("version: 9.0\nworkflows: {release: {on: exec, steps: [{run: 'true'}]}}\n", "version"),
        ("version: 0.1.0\n---\nversion: 0.1.0\n", "document"),
        ("version: !!python/tuple [a]\n", "tag"),
    ],
    ids=[
        "malformed",
        "empty",
        "binary",
        "not-utf-8",
        "deep",
        "alias-bomb",
        "twice",
        "typo",
        "list",
        "version",
        "documents",
        "tag",
    ],
)
def test_a_config_that_cannot_be_used_is_named(scene: Scene, config: str | bytes, said: str) -> None:
    checkout = _with_config(scene, config)
    _refused(scene, scene.tako("exec", "release", cwd=checkout), 2, said)


@pytest.mark.parametrize("kind", ["directory", "fifo", "dangling"])
def test_a_config_that_is_no_file_is_refused_without_hanging(scene: Scene, kind: str) -> None:
    path = scene.directory / "here" / "tako.yml"
    path.parent.mkdir()
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    _refused(scene, scene.tako("exec", "release", cwd=path.parent), 2, "tako.yml")


# --- workflows and inputs ---


def test_an_unknown_workflow_names_the_known_and_the_nearest(scene: Scene) -> None:
    checkout = _with_config(scene, tako_yml(_RELEASE))
    _refused(scene, scene.tako("exec", "relase", cwd=checkout), 2, "'relase'", "did you mean 'release'")


def test_a_workflow_that_is_not_for_exec_is_refused(scene: Scene) -> None:
    checkout = _with_config(scene, tako_yml({"check": workflow("true", on="event")}))
    _refused(scene, scene.tako("exec", "check", cwd=checkout), 2, "does not run on exec")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["'bump'", "required"]),
        (["--inputs.bump=minor", "--inputs.bmup=x"], ["'bmup'", "bump"]),
        (["--inputs.bump=huge"], ["bump", "major", "minor", "patch"]),
        (["--inputs.bump=minor", "--inputs.count=three"], ["count", "integer", "three"]),
        (["--inputs.bump=minor", "--inputs.sure=perhaps"], ["sure", "perhaps"]),
        (["--inputs.bump=minor", "--inputs.bump=major"], ["bump", "twice"]),
        (["--inputs.bump"], ["bump", "value"]),
    ],
)
def test_wrong_inputs_are_named(scene: Scene, arguments: list[str], said: list[str]) -> None:
    inputs = {
        "bump": {"type": "string", "required": True, "validation": {"enum": ["major", "minor", "patch"]}},
        "count": {"type": "integer", "default": 1},
        "sure": {"type": "boolean", "default": False},
    }
    checkout = _with_config(
        scene, tako_yml({"release": workflow("echo started >started.txt", on="exec", inputs=inputs)})
    )
    _refused(scene, scene.tako("exec", "release", *arguments, cwd=checkout), 2, *said)
    assert not (checkout / "started.txt").exists()


def test_all_wrong_inputs_are_named_at_once(scene: Scene) -> None:
    inputs = {"one": {"type": "integer"}, "two": {"type": "integer"}}
    checkout = _with_config(scene, tako_yml({"release": workflow("true", on="exec", inputs=inputs)}))
    done = scene.tako("exec", "release", "--inputs.one=x", "--inputs.two=y", cwd=checkout)
    _refused(scene, done, 2, "one", "two")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"steps": [{"run": "true", "image": "alpine"}]}, "image"),
        ({"steps": [{"run": "true", "long_running": True}]}, "long_running"),
    ],
)
def test_what_comes_later_is_refused_and_not_ignored(
    scene: Scene, keys: dict[str, object], said: str
) -> None:
    release = {**workflow("echo started >started.txt", on="exec"), **keys}
    checkout = _with_config(scene, tako_yml({"release": release}))
    _refused(scene, scene.tako("exec", "release", cwd=checkout), 2, said, "not supported yet")
    assert not (checkout / "started.txt").exists()


def test_a_template_that_cannot_be_right_is_found_before_the_first_step(scene: Scene) -> None:
    release = workflow("echo started >started.txt", "echo {{ .inputs.nothing }}", on="exec")
    checkout = _with_config(scene, tako_yml({"release": release}))
    _refused(scene, scene.tako("exec", "release", cwd=checkout), 2, "nothing", "tako.yml:")
    assert not (checkout / "started.txt").exists()


def test_a_fan_out_needs_to_know_the_repositorys_name(scene: Scene) -> None:
    config = tako_yml({"release": workflow(FAN_OUT, on="exec")})
    checkout = scene.git_repo("acme/lib", {"tako.yml": config}, origin="")
    _refused(scene, scene.tako("exec", "release", cwd=checkout), 2, "origin", "--repo")


# --- names ---


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "acme/../x", "/etc/passwd", "~/x", "~root/x", "acme/x\ny", "-acme/x", "acme/-x", "acme"),
        *("acme//x", "acme/x:../y", "acme/x:", "", " ", "acme/x:-y", "acme/\x1b[31mx", "a" * 300 + "/x"),
    ],
)
def test_a_hostile_repository_name_is_refused(scene: Scene, name: str) -> None:
    done = scene.tako("exec", "release", f"--repo={name}", cwd=scene.directory)
    _refused(scene, done, 2)
    assert done.stderr.startswith(("tako: ", "Usage: "))
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("steps", [("true",), (FAN_OUT,)])
def test_a_git_that_fails_is_exit_code_4_in_its_own_words(scene: Scene, steps: tuple[Step, ...]) -> None:
    """Not a checkout without an origin, whose steps would run as those of another repository."""
    checkout = scene.library(*steps)
    (checkout / ".git" / "config").write_text("[remote\n")
    done = scene.tako("exec", "release", cwd=checkout)
    _refused(scene, done, 4, "bad config line 1", str(checkout), f"git -C {checkout} status")


def test_the_name_of_a_repository_is_where_git_fetches_it_from(scene: Scene) -> None:
    """The first of its URLs, as the user's configuration rewrites it."""
    checkout = scene.git_repo("acme/lib", {"tako.yml": tako_yml(_RELEASE)}, origin="work:lib.git")
    git(checkout, "remote", "set-url", "--add", "origin", "https://example.invalid/other/copy.git")
    rewriting = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "url.https://example.invalid/acme/.insteadOf",
        "GIT_CONFIG_VALUE_0": "work:",
    }
    done = scene.tako("exec", "release", cwd=checkout, env=rewriting)
    assert done.code == 0, done.stderr
    assert scene.status()["repository"] == "acme/lib"


def test_an_unknown_repository_is_named(scene: Scene) -> None:
    done = scene.tako("exec", "release", "--repo", "acme/nowhere", cwd=scene.directory)
    _refused(scene, done, 2, "acme/nowhere", "cache add")


@pytest.mark.parametrize("run", ["../../etc", "/etc", "exec-1", "exec-20240101-000000-00000000", "-x"])
def test_a_run_that_does_not_exist_is_named(scene: Scene, run: str) -> None:
    for words in (["status", "--", run], ["logs", "--", run]):
        _refused(scene, scene.tako(*words), 2, run)


@pytest.mark.parametrize(
    "words",
    [
        ["--jobs", "0"],
        ["--jobs", "many"],
        ["--output", "xml"],
        ["--lock-timeout", "soon"],
        ["--nonsense"],
        [],
    ],
)
def test_wrong_options_are_exit_code_2(scene: Scene, words: list[str]) -> None:
    checkout = _with_config(scene, tako_yml(_RELEASE))
    _refused(scene, scene.tako("exec", *(["release", *words] if words else []), cwd=checkout), 2)
    assert not (checkout / "started.txt").exists()


# --- the machine ---


def test_a_home_that_is_a_file_is_exit_code_4(scene: Scene) -> None:
    scene.tako.home.write_text("a file")
    done = scene.tako("exec", "release", cwd=_with_config(scene, tako_yml(_RELEASE)))
    assert done.code == 4
    assert str(scene.tako.home) in done.stderr


def test_a_home_of_another_user_is_exit_code_4(scene: Scene) -> None:
    home = scene.tako.home
    if os.geteuid() == 0:
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
    else:
        home = Path("/usr")
    checkout = _with_config(scene, tako_yml(_RELEASE))
    done = scene.tako("exec", "release", cwd=checkout, env={"TAKO_HOME": str(home)})
    _refused(scene, done, 4, f"TAKO_HOME {home} ")


def test_a_home_that_cannot_be_written_is_exit_code_4(scene: Scene) -> None:
    """In /proc nobody can make a directory, not even root."""
    done = scene.tako(
        "exec", "release", cwd=_with_config(scene, tako_yml(_RELEASE)), env={"TAKO_HOME": "/proc/nothing"}
    )
    _refused(scene, done, 4, "/proc/nothing")


def test_without_any_home_it_is_exit_code_2(scene: Scene) -> None:
    checkout = _with_config(scene, tako_yml(_RELEASE))
    environment = {
        name: value for name, value in scene.tako.environment.items() if name not in ("HOME", "TAKO_HOME")
    }
    done = subprocess.run(
        [*command(), "exec", "release"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=GENEROUS_S,
        check=False,
    )
    assert done.returncode == 2
    assert "neither TAKO_HOME nor HOME is set" in done.stderr


def test_wrong_settings_are_named_with_their_place(scene: Scene) -> None:
    scene.tako.home.mkdir()
    (scene.tako.home / "config.yml").write_text("jobs: 3\nisolaton: auto\n")
    done = scene.tako("exec", "release", cwd=_with_config(scene, tako_yml(_RELEASE)))
    _refused(scene, done, 2, "config.yml:2:1", "isolation")


def test_a_deleted_working_directory_is_a_clear_error(scene: Scene) -> None:
    directory = scene.directory / "gone"
    directory.mkdir()
    line = f"cd {directory} && rmdir {directory} && exec " + " ".join(f"'{word}'" for word in command())
    done = subprocess.run(
        ["sh", "-c", f"{line} exec release"],
        env=dict(scene.tako.environment),
        capture_output=True,
        text=True,
        timeout=GENEROUS_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("tako: the directory you are in does not exist any more")


# --- paths of artifacts and outputs ---


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "~/x", "a/../../x", "-x"])
def test_a_path_that_leads_out_of_the_workspace_is_refused(scene: Scene, path: str) -> None:
    for produces in ({"outputs": {"x": f"from_file:{path}"}}, {"artifacts": {"default": path}}):
        release = workflow({"id": "a", "run": "true", "produces": produces}, on="exec")
        checkout = scene.directory / f"checkout-{len(list(scene.directory.iterdir()))}"
        checkout.mkdir()
        (checkout / "tako.yml").write_text(tako_yml({"release": release}))
        _refused(scene, scene.tako("exec", "release", cwd=checkout), 2, "tako.yml:")


def test_a_link_that_leads_out_is_not_followed_for_outputs_or_artifacts(scene: Scene) -> None:
    secret = scene.directory / "secret.txt"
    secret.write_text("the secret")
    for produces in ({"outputs": {"x": "from_file:link"}}, {"artifacts": {"default": "link"}}):
        step = {"id": "a", "run": f"ln -sf {secret} link", "produces": produces}
        checkout = scene.directory / f"checkout-{len(list(scene.directory.iterdir()))}"
        checkout.mkdir()
        (checkout / "tako.yml").write_text(tako_yml({"release": workflow(step, on="exec")}))
        done = scene.tako("exec", "release", "--output", "json", cwd=checkout)
        assert done.code == 1, done.stderr
        assert "link" in done.json["failures"][0]["message"]
    everything = b"".join(path.read_bytes() for path in scene.tako.home.rglob("*") if path.is_file())
    assert b"the secret" not in everything


def test_a_tmpdir_that_is_not_there_is_exit_code_4(scene: Scene) -> None:
    """Short: in a longer one a socket's path would be too long, and /tmp is used."""
    done = scene.tako(
        "exec", "release", cwd=_with_config(scene, tako_yml(_RELEASE)), env={"TMPDIR": "/proc/nothing"}
    )
    _refused(scene, done, 4, "temporary directory /proc/nothing/tako-", "No such file or directory")
