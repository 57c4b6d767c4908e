"""Every place where tako starts a program or a process, and which environment that gets.

Whoever adds a start adds it here, and says why nothing that a repository chooses can reach it.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tako.repositories.upstream import environment as git_environment
from tako.sandbox import bubblewrap
from tako.system import user_environment
from tako.system.user_environment import helper_environment, plain_environment
from tests.support.modules import all_modules

_STARTS = re.compile(
    r"(Popen|check_call|check_output|system|popen|fork|forkpty|vfork|posix_spawnp?|exec[lv]p?e?|spawn[lv]p?e?"
    r"|run_program|create_subprocess_(exec|shell)|ensure_running|get_context|Process|Pool|ProcessPoolExecutor)"
)
_HELPER = "os.environ of the root, which `put_aside` has reduced to `helper_environment`"
_FORK = "a fork, which executes nothing"
EXPECTED = {
    ("tako.engine.workers.slot", "ProcessPoolExecutor"): "forked by the forkserver",
    ("tako.engine.workers.slot_process", "fork"): _FORK,
    ("tako.system.process.forkserver", "ensure_running"): _HELPER,
    ("tako.system.process.forkserver", "get_context"): _HELPER,
    ("tako.engine.workers.forked_cell", "fork"): _FORK,
    ("tako.repositories.upstream.git", "run_program"): "closed_environment, or network_environment",
    ("tako.sandbox.levels", "run_program"): "helper_environment and the user's HOME",
    ("tako.sandbox.process_level", "Popen"): "a step: its own, behind the wall; bubblewrap: none",
    ("tako.system.process.companion", "Popen"): "helper_environment, of `engine.fan_out.judge`",
    ("tako.system.storage.lock_probe", "Popen"): "helper_environment",
    ("tako.system.process.programs", "Popen"): "what is given to run_program",
    ("tako.system.walls.prepared", "fork"): _FORK,
    ("tako.system.process.warden", "fork"): _FORK,
}
#: What decides how a program is loaded, found, configured or started, with a value that nobody else has.
DECIDING = dict.fromkeys(
    (
        "LD_PRELOAD", "LD_AUDIT", "LD_DEBUG_OUTPUT", "LD_PROFILE_OUTPUT", "LD_BIND_NOW", "LD_ORIGIN_PATH",
        "GLIBC_TUNABLES", "MALLOC_TRACE", "MALLOC_PERTURB_", "GCONV_PATH", "LOCPATH", "NLSPATH",
        "HOSTALIASES", "RES_OPTIONS", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONUSERBASE",
        "PYTHONPYCACHEPREFIX", "PYTHONBREAKPOINT", "PYTHONPLATLIBDIR", "BASH_ENV", "ENV", "SHELLOPTS", "PS4",
        "IFS", "NODE_OPTIONS", "PERL5OPT", "PERL5LIB", "RUBYOPT", "GIT_DIR", "GIT_WORK_TREE",
        "GIT_INDEX_FILE", "GIT_EXEC_PATH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_PARAMETERS", "GIT_TEMPLATE_DIR", "GIT_EXTERNAL_DIFF", "GIT_EDITOR", "GIT_PAGER",
        "GIT_PROXY_COMMAND", "SSH_ASKPASS", "XDG_CONFIG_HOME", "HOME", "TMPDIR",
    ),
    "chosen-by-a-repository",
)  # fmt: skip


def _called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            owner = getattr(getattr(function, "value", None), "id", "")
            if (owner, name) == ("platform", "system"):
                continue
            if _STARTS.fullmatch(name) or (owner, name) == ("subprocess", "run"):
                yield name


def test_every_start_of_a_program_is_known() -> None:
    found = {(module.name, name) for module in all_modules() for name in _called(module.tree)}
    assert found == EXPECTED.keys()


@pytest.mark.parametrize("make", [plain_environment, helper_environment])
def test_what_helpers_get_is_a_fixed_list(make: object) -> None:
    assert callable(make)
    kept = make({**DECIDING, "PATH": "/bin", "TOKEN": "secret", "LANG": "C"})
    assert "chosen-by-a-repository" not in kept.values()
    assert kept.keys() <= {"PATH", "LANG", "PYTHONSAFEPATH", "PYTHONWARNINGS"}


def test_what_the_forkserver_and_its_tracker_inherit_is_that_list(monkeypatch: pytest.MonkeyPatch) -> None:
    before: Mapping[str, str] = {**DECIDING, "PATH": os.defpath, "PYTHONPATH": "relative:/absolute"}
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", dict(before))
        patch.setattr(user_environment, "_put_aside", None)
        user_environment.put_aside()
        assert os.environ == helper_environment(before)
        assert user_environment.user_environment() == before


def test_programs_and_libraries_are_searched_for_where_the_user_says_alone() -> None:
    given = {"PATH": ":/bin:.:lib:/usr/bin:", "LD_LIBRARY_PATH": ":", "PYTHONPATH": "relative:/absolute"}
    assert plain_environment(given) == {"PATH": "/bin:/usr/bin"}
    assert helper_environment(given)["PYTHONPATH"] == "/absolute"
    assert bubblewrap.find({"PATH": ":.:"}) == bubblewrap.find({"PATH": "/nowhere"})


def test_git_in_what_tako_made_gets_that_list_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in DECIDING.items():
        monkeypatch.setenv(name, value)
    for environment in (git_environment.closed_environment(), git_environment.closed_environment(tmp_path)):
        assert "chosen-by-a-repository" not in environment.values()
