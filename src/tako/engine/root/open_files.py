"""How many runs at once the limit of open files has room for, and raising it as far as the user may.

The root holds pipes, pidfds and a journal for each run that is under way, and some files of its own.
"""

from __future__ import annotations

import resource

from tako.errors import MachineError

#: Measured: 20 and 14 with steps that wait, and some more at each start.
_OWN, _EACH = 32, 16
_MOST = 1 << 20


def raise_open_files() -> None:
    """Let the root hold a journal for each waiting run: the soft limit of open files becomes the hard one."""
    hard = _hard()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def jobs_within(jobs: int) -> int:
    """Give how many of `jobs` have room under the hard limit; raises `MachineError` if not even one has."""
    hard = _hard()
    room = (hard - _OWN) // _EACH
    if room < 1:
        message = f"tako may open no more than {hard} files (`ulimit -Hn`), and needs {_OWN + _EACH}"
        raise MachineError(message, hint="raise that limit where it is set: `ulimit -n 1024`")
    return min(jobs, room)


def too_few(jobs: int, room: int) -> str:
    """Say that not all of `jobs` run at once."""
    return (
        f"jobs {room} instead of {jobs}: no more than {_hard()} files may be open (`ulimit -Hn`),"
        f" and each job needs {_EACH}"
    )


def _hard() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
