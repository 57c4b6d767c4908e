"""Places of the machine that tako knows by name, and those where it tries things."""

from __future__ import annotations

from pathlib import Path

from tako.values import value

#: Of a scratch directory in TAKO_HOME in which isolation is tried.
PROBE_PREFIX = ".probe-"
BASH = Path("/bin/bash")
DEV_SHM = Path("/dev/shm")  # noqa: S108 - private to the sandbox
ETC = Path("/etc")
VENV_CONFIG = "pyvenv.cfg"
RESOLV_CONF = "/etc/resolv.conf"


def semaphore_prefix(private: str) -> str:
    """The prefix of the names of all semaphores of one `tako exec` (sem_overview(7))."""
    return f"/{Path(private).name}"


def semaphores_of(private: Path) -> list[Path]:
    """The named semaphores of the `tako exec` with that private directory (sem_overview(7))."""
    return sorted(DEV_SHM.glob(f"sem.{private.name}-*"))


@value
class ProbeDirectory:
    """Where isolation is tried: parts of an overlay, and the private /dev/shm."""

    path: Path

    @property
    def lower(self) -> Path:
        """The shown view."""
        return self.path / "lower"

    @property
    def upper(self) -> Path:
        """The changes to it."""
        return self.path / "upper"

    @property
    def inner(self) -> Path:
        """The overlay's own work directory."""
        return self.path / "inner"

    @property
    def repo(self) -> Path:
        """Where the overlay is mounted."""
        return self.path / "repo"

    @property
    def shared_memory(self) -> Path:
        """Where /dev/shm is mounted."""
        return self.path / "shm"
