"""Tries the isolation levels on this machine, in a process of its own: `python -m tako.sandbox.probe`.

In: a `TAKO_HOME` and the path of bubblewrap as arguments, the user's PATH. Out: one JSON object on stdout
that says for each level, and for overlays, why it does not work here; empty if it does. A level works when
what it must allow was done and what it must forbid was refused.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tako.layout.machine import DEV_SHM, PROBE_PREFIX, RESOLV_CONF, ProbeDirectory
from tako.layout.names import FROM_BELOW, MOVED
from tako.layout.run import SeenDirectory
from tako.sandbox import landlock_level, namespace_level
from tako.sandbox.bubblewrap import HOW
from tako.sandbox.machine_view import MachineView, machine_view
from tako.sandbox.policy import Mount, Policy
from tako.sandbox.started import SandboxFailedError
from tako.system.storage.removal import remove_tree
from tako.system.user_environment import user_homes
from tako.system.walls.namespaces import (
    enter_own_namespaces,
    mount_memory,
    mount_overlay,
    unmount,
    why_forbidden,
)

_TIMEOUT_S = 30.0
_MEMORY = 1 << 20
#: Ends with 0 if it may write, sees nothing of `$HIDDEN`, and is among the first processes of its world.
_CHECK = 'test ! -e "$HIDDEN" && test "$$" -lt 10 && echo yes > written'


def probe(home: Path, bubblewrap: str) -> dict[str, str]:
    """Why each field of `Findings` does not work; changes the calling process for good."""
    found = {"landlock": landlock_level.works()}
    try:
        enter_own_namespaces()
    except OSError as error:
        reason = why_forbidden(error)
        return found | dict.fromkeys(("overlay", "namespace", "own_root", "own_processes"), reason)
    found |= _landlock_inside(found["landlock"])
    scratch = ProbeDirectory(Path(tempfile.mkdtemp(prefix=PROBE_PREFIX, dir=home)))
    try:
        return found | _inside(scratch, bubblewrap)
    finally:
        remove_tree(scratch.path)


def _landlock_inside(reason: str) -> dict[str, str]:
    """Try the additions of level `landlock` where workers can have namespaces."""
    reason = reason or landlock_level.works(own_root=True)
    return {
        "own_root": reason,
        "own_processes": reason or landlock_level.works(own_root=True, own_processes=True),
    }


def _inside(scratch: ProbeDirectory, bubblewrap: str) -> dict[str, str]:
    for directory in (scratch.lower, scratch.upper, scratch.inner, scratch.repo, scratch.shared_memory):
        directory.mkdir(mode=0o700)
    mount_memory(scratch.shared_memory, _MEMORY)
    overlay = _overlay(scratch)
    try:
        namespace = _namespace(scratch, bubblewrap) if bubblewrap else f"no `bwrap`: {HOW}"
    finally:
        for mounted in (scratch.shared_memory, scratch.repo)[: 1 if overlay else 2]:
            unmount(mounted)
    return {"overlay": overlay, "namespace": namespace}


def _overlay(scratch: ProbeDirectory) -> str:
    """Change a file through an overlay: mounting alone may work where that does not."""
    try:
        (scratch.lower / FROM_BELOW).touch()
        mount_overlay(scratch.lower, scratch.upper, scratch.inner, scratch.repo)
        os.replace(scratch.repo / FROM_BELOW, scratch.repo / MOVED)
    except OSError as error:
        return f"an overlay cannot be mounted on the file system of TAKO_HOME: {error.strerror}"
    return ""


def _namespace(scratch: ProbeDirectory, bubblewrap: str) -> str:
    machine = machine_view(dict(os.environ), user_homes(os.environ), (scratch.path,))
    seen = str(SeenDirectory(scratch.path).repo)
    policy = Policy(
        {"PATH": os.defpath, "HIDDEN": str(scratch.path)},
        seen,
        mounts=(
            *_system(machine),
            Mount(str(scratch.repo), seen, writable=True),
            Mount(str(scratch.shared_memory), str(DEV_SHM), writable=True),
        ),
        links=machine.links,
    )
    try:
        started = namespace_level.launch(bubblewrap, policy, ("/bin/sh", "-c", _CHECK))
        _, said = started.process.communicate(timeout=_TIMEOUT_S)
        text = said.decode(errors="replace").strip()
        started.check(text)
    except SandboxFailedError as error:
        return error.message
    except subprocess.TimeoutExpired:
        started.process.kill()
        return "a sandbox did not come up within half a minute"
    code = started.process.returncode
    return f"a sandbox came up but does not hold: {text or f'exit code {code}'}" if code else ""


def _system(machine: MachineView) -> tuple[Mount, ...]:
    same = tuple(Mount(path, path) for path in (*machine.system, *machine.etc))
    return (*same, Mount(machine.resolv_conf, RESOLV_CONF)) if machine.resolv_conf else same


if __name__ == "__main__":
    json.dump(probe(Path(sys.argv[1]), sys.argv[2]), sys.stdout)
