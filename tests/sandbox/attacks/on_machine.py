"""What a step may make of the machine: a dead program's memory goes to the handler of core files."""

from __future__ import annotations

from tests.sandbox.attacks.shot import Attack, python, said_so

#: Dies of SIGABRT, which leaves its memory where the machine keeps such files (core(5)).
_ABORT = r"""
pid = os.fork()
if pid == 0:
    os.abort()
if os.WCOREDUMP(os.waitpid(pid, 0)[1]):
    print('got', 'through')
"""

ATTACKS = (Attack("leave a core file, or give it to the machine's handler", python(_ABORT), said_so),)
