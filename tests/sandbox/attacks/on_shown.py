"""Attacks on what is shown of the machine: credentials, tables of the kernel."""

from __future__ import annotations

from tako.sandbox.policy import LANDLOCK
from tests.sandbox.attacks.shot import SUCCESS, Attack, python, read_it, said_so

_TABLES = f"""
tables = [f"/proc/{{name}}" for name in os.listdir("/proc") if not name.isdigit()]
tables = [path for path in tables if os.path.isfile(path) and not os.path.islink(path)]
for path in tables:
    # What is reserved to those with a capability says so, whoever asks.
    if not os.stat(path).st_mode & 0o004:
        try:
            with open(path, "rb") as file:
                if os.path.basename(path) != "kmsg" and file.read(16):
                    print("{SUCCESS}", path)
        except OSError:
            pass
"""

ATTACKS = (
    Attack("read a credential below a tool that is shown", 'cat "$CREDENTIAL"', read_it),
    Attack(
        "read tables of the kernel that are closed to others (/proc)",
        python(_TABLES),
        said_so,
        by_namespaces=(LANDLOCK,),
    ),
)
