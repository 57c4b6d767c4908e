"""The environment of a step: what is left of the user's, the workflow's and tako's own words.

A child gets PATH, the locale, time zone, proxies and certificate authorities, and what the user
lists under `environment:` in config.yml; everything else of the user's environment stays out.
The root run's own steps get all of it, but for what says where a repository lies: tako may run in a git
hook, and git in a step would work in the user's repository wherever the step is.
"""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import Iterable, Mapping
from contextlib import suppress

from tako.engine.run.spec import SSH_AGENT, RunSpec
from tako.layout.run import RunDirectory
from tako.system.user_environment import AUTHORITIES, LOCATES_REPOSITORY

_PASSED = frozenset((
    "PATH", "LANG", "LANGUAGE", "TZ", "TERM", "NO_COLOR", "http_proxy", "https_proxy", "ftp_proxy",
    "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY",
    *AUTHORITIES,
))  # fmt: skip
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def scrubbed(environment: Mapping[str, str], passed_on: Iterable[str] = ()) -> dict[str, str]:
    """What a child may see of the user's environment; `passed_on` names more variables."""
    allowed = _PASSED | frozenset(passed_on)
    kept = {name: value for name, value in environment.items() if name in allowed or name.startswith("LC_")}
    kept.setdefault("PATH", _DEFAULT_PATH)
    return kept


def trusted(environment: Mapping[str, str], passed_on: Iterable[str] = ()) -> dict[str, str]:
    """What the steps in the user's own checkout get of the user's environment; `passed_on` always stays."""
    taken = LOCATES_REPOSITORY - frozenset(passed_on)
    return {name: value for name, value in environment.items() if name not in taken}


def idempotency_key(run_id: str, step: str) -> str:
    """The same for all attempts of one step of one run, different for any other."""
    return hashlib.sha256(f"{run_id}\n{step}".encode()).hexdigest()[:32]


def base_environment(spec: RunSpec, seen: RunDirectory, temporary: str) -> dict[str, str]:
    """What all steps of the run share, before the workflow's own `env`.

    `seen` is the run's directory and `temporary` TMPDIR, both as the steps see them.
    """
    environment = dict(spec.environment)
    if not spec.in_place:
        user = _user_name()
        environment |= {
            "HOME": str(seen.home),
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/sh",
            "TMPDIR": temporary,
        }
    return environment | _words(spec, seen)


def _words(spec: RunSpec, seen: RunDirectory) -> dict[str, str]:
    words = {
        "TAKO_RUN_ID": spec.run_id,
        "TAKO_ROOT_RUN_ID": spec.root_run_id,
        "TAKO_REPOSITORY": spec.repository,
        "TAKO_COMMIT": spec.commit,
        "TAKO_WORKFLOW": spec.workflow.name,
        "TAKO_WORKSPACE": str(seen.work),
        "TAKO_CHILDREN": str(seen.received_children),
    }
    if spec.event is not None:
        words |= {"TAKO_EVENT_TYPE": spec.event.type, "TAKO_ARTIFACTS": str(seen.received_artifacts)}
    return words


def step_variables(spec: RunSpec, seen: RunDirectory, step: str) -> dict[str, str]:
    """The words that differ from step to step."""
    return {
        "TAKO_STEP": step,
        "TAKO_OUTPUT": str(seen.step_outputs(step)),
        "TAKO_ENV": str(seen.step_environment(step)),
        "TAKO_IDEMPOTENCY_KEY": idempotency_key(spec.run_id, step),
    }


def with_own_agent(spec: RunSpec, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables without an ssh agent that only a tako.yml's `env` names: the sandbox shows its socket."""
    if spec.in_place:
        return dict(variables)
    kept = {name: value for name, value in variables.items() if name != SSH_AGENT}
    agent = spec.environment.get(SSH_AGENT)
    return kept if agent is None else kept | {SSH_AGENT: agent}


def _user_name() -> str:
    with suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return str(os.getuid())
