"""What a repository, a settings file or a user writes never reaches a terminal as a control character."""

from __future__ import annotations

import re

import pytest

from tests.support.runner import Finished
from tests.support.scenes import FAN_OUT, Scene

pytestmark = pytest.mark.forked

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_KEY = r'"\e[2J\a\u202e"'
_ODD = rf"""
version: 0.1.0
{_KEY}: 1
workflows:
  check:
    steps: [{{run: "true", {_KEY}: x}}]
    inputs: {{v: {{default: {_KEY}, validation: {{enum: [a]}}}}}}
subscriptions: [{{artifact: "acme/lib:default", events: [built], workflow: check, {_KEY}: 1}}]
"""
_FILTERED = """
version: 0.1.0
workflows: {check: {on: event, steps: [{run: "true"}]}}
subscriptions:
  - artifact: "acme/lib:default"
    events: [built]
    workflow: check
    filters: ["event.type == '\\e[2J\\a'"]
  - {artifact: "acme/lib:default", events: [built], workflow: check, filters: ["event.nope('\\e[2J\\a')"]}
"""


def _harmless(done: Finished, code: int) -> str:
    assert done.code == code, done.stderr
    assert _CONTROL.findall(done.stdout + done.stderr) == []
    return done.stdout + done.stderr


def test_no_view_shows_control_characters_of_others(scene: Scene) -> None:
    odd = scene.checkout("acme/odd", {"tako.yml": _ODD})
    scene.checkout("acme/filtered", {"tako.yml": _FILTERED})
    assert r"unknown key '\x1b[2J\x07\u202e'" in _harmless(scene.tako("validate", str(odd)), 2)
    checkout = scene.library(FAN_OUT)
    for arguments in (("exec", "release"), ("exec", "release", "-q"), ("status",), ("runs",)):
        code = 1 if arguments[0] == "exec" else 0
        _harmless(scene.tako(*arguments, cwd=checkout), code)
    _harmless(scene.tako("exec", "release", "--inputs.\x1b[2J=x", cwd=checkout), 2)
    _harmless(scene.tako("exec", "re\x1b[2Jlease", cwd=checkout), 2)
    _harmless(scene.tako("cache", "add", "acme/x", "--from", "/nowhere/\x1b[2J"), 2)
    scene.settings(f"{_KEY}: 1\nsecrets: {{{_KEY}: [{_KEY}]}}\n")
    assert r"\x1b[2J" in _harmless(scene.tako("exec", "release", cwd=checkout), 2)


def test_an_input_that_is_no_unicode_text_is_told_so(scene: Scene) -> None:
    checkout = scene.library("true", inputs={"name": {}})
    done = scene.tako("exec", "release", "--inputs.name=caf\udce9", cwd=checkout)
    assert "input 'name' of workflow 'release' cannot be used: it is not Unicode text (UTF-8)" in done.stderr
    assert done.code == 2


_FORGED = "[acme/good check] succeeded"
_NAME = f"""name="dist/$(printf 'a\\n{_FORGED}')"; mkdir -p "${{name%/*}}"\n"""


@pytest.mark.parametrize("script", [f'{_NAME} touch "$name"', f'{_NAME} mkfifo "$name"'])
@pytest.mark.parametrize("options", [(), ("-q",)])
def test_no_name_of_a_file_makes_a_line_that_looks_like_one_of_takos(
    scene: Scene, script: str, options: tuple[str, ...]
) -> None:
    step = {"id": "forge", "run": script, "produces": {"artifacts": ["dist/"]}}
    scene.subscriber("acme/odd", step)
    done = scene.tako("exec", "release", *options, cwd=scene.library("true", FAN_OUT))
    status = scene.tako("status")
    assert done.code == 1, done.stderr
    said = done.stdout + done.stderr + status.stdout
    assert r"a\n[acme/good check] succeeded" in said
    assert not [line for line in said.splitlines() if line.lstrip().startswith(_FORGED)]
