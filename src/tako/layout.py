"""Every path of tako, and the grammar of the names that become part of one.

Nothing else in tako joins a path literal. A name that comes from outside (run id, step id,
artifact, owner, branch) passes through one of the checks here before it is a path; what
fails them is a `ReferenceInvalidError` that says which rule was broken.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path

from tako.errors import NotFoundError, ReferenceInvalidError
from tako.values import value

CONFIG_NAME = "tako.yml"
SUBMODULES_NAME = ".gitmodules"
GIT_NAME = ".git"
HEAD, INDEX, OBJECTS = "HEAD", "index", "objects"
PACKS = "objects/pack"
#: Where a repository says whose objects it also reads (gitrepository-layout(5)).
ALTERNATES = "objects/info/alternates"
GIT_CONFIGS = frozenset(("config", "config.worktree"))
#: What a repository knows of worktrees elsewhere.
LINKED_WORKTREES = ".git/worktrees"
TEMPORARY_PREFIX = ".tmp-"
NOTHING = Path(os.devnull)
RUN_ID = re.compile(r"exec-[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
#: The private directory of one `tako exec`, in which each segment has TMPDIR under a number.
_PRIVATE = re.compile(r"tako-[0-9a-f]{12}")
_PART = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+@%-]*")
_STEP_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NAME_MAX = 100


def checked_name(value: str, what: str, pattern: re.Pattern[str] = _STEP_ID) -> str:
    """Give `value` back if it is a plain name (steps, workflows, artifacts, outputs).

    Raises `ReferenceInvalidError` naming `what` otherwise.
    """
    if not pattern.fullmatch(value) or len(value) > _NAME_MAX:
        message = (
            f"{what} {value!r} is not a valid name: letters, digits, '_' and '-',"
            f" starting with a letter or '_', at most {_NAME_MAX} characters"
        )
        raise ReferenceInvalidError(message)
    return value


def checked_run_id(value: str) -> str:
    """Give `value` back if it is a run id, else raise `ReferenceInvalidError`."""
    if not RUN_ID.fullmatch(value):
        message = f"{value!r} is not a run id: expected exec-YYYYMMDD-HHMMSS-<8 hex digits>"
        raise ReferenceInvalidError(message)
    return value


def private_directory(temporary: str) -> Path | None:
    """The private directory of a `tako exec`, from that itself or a TMPDIR in it; None for other paths."""
    path = Path(temporary)
    place = path.parent if path.name.isdecimal() else path
    plain = path.is_absolute() and ".." not in path.parts
    return place if plain and _PRIVATE.fullmatch(place.name) else None


def hidden_script(temporary: str, step: str) -> Path:
    """Where a script that holds a secret is run from: beside a segment's TMPDIR, removed with it."""
    place = Path(temporary)
    return place.with_name(f"{place.name}-{checked_name(step, 'step')}.sh")


def path_problem(path: str) -> str:
    """Say why `path` may not be used as a relative path inside a workspace; empty if it may."""
    if not path:
        return "it is empty"
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "it holds a control character"
    if path.startswith("/"):
        return "it is absolute"
    if path.startswith(("~", "-")):
        return f"it starts with {path[0]!r}"
    parts = path.split("/")
    if ".." in parts:
        return "it leads out with '..'"
    if "" in parts[:-1]:
        return "it has an empty part"
    return ""


def encoded(part: str) -> str:
    """Percent-encode one part of a name so that it is one directory name (`feature%2Fx`)."""
    # Imported here: it costs a tenth of a start, and the user's own checkout needs no cache.
    from urllib.parse import quote

    text = quote(part, safe="+@", errors="surrogateescape")
    return "%2E" + text[1:] if text.startswith(".") else text


def decoded(part: str) -> str:
    """Undo `encoded`."""
    from urllib.parse import unquote

    return unquote(part)


def has_config(checkout: Path) -> bool:
    """Whether a directory holds a tako.yml, of whatever kind of file."""
    return os.path.lexists(checkout / CONFIG_NAME)


def is_top(directory: Path) -> bool:
    """Whether a directory is the top of a git checkout."""
    return os.path.lexists(directory / ".git")


@value
class RunDirectory:
    """One run's directory: what belongs to tako, and `work/`, the only part steps see."""

    path: Path

    @property
    def run_id(self) -> str:
        """The run's id is its directory's name."""
        return self.path.name

    @property
    def is_child(self) -> bool:
        """Whether this is a child run's directory, which lies in its parent's."""
        return self.path.parent.name == "children"

    @property
    def root(self) -> RunDirectory:
        """The directory of the root run of its tree."""
        return self.parent.root if self.is_child else self

    @property
    def parent(self) -> RunDirectory:
        """Of a child run: the directory of the run whose event it answers."""
        return RunDirectory(self.path.parent.parent)

    @cached_property
    def journal(self) -> Path:
        """The append-only record."""
        return self.path / "journal.jsonl"

    @cached_property
    def lock(self) -> Path:
        """Held by the root process of a root run from its first to its last moment."""
        return self.path / "lock"

    @property
    def logs(self) -> Path:
        """One file for each step."""
        return self.path / "logs"

    def log(self, step: str) -> Path:
        """The output of one step, all attempts."""
        return self.logs / f"{checked_name(step, 'step')}.log"

    @property
    def values(self) -> Path:
        """In a root run's directory: the large values that journals of its tree refer to."""
        return self.path / "values"

    def value(self, sha256: str) -> Path:
        """One of these values, by the SHA-256 (hex) of its bytes."""
        return self.values / f"{sha256}.json"

    def unfinished_values(self) -> list[Path]:
        """What is left of values whose writers were killed before they got their names."""
        try:
            return sorted(self.values / name for name in os.listdir(self.values) if name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    @property
    def artifacts(self) -> Path:
        """What the run's steps produced, by artifact."""
        return self.path / "artifacts"

    @cached_property
    def children(self) -> Path:
        """The run directories of its child runs."""
        return self.path / "children"

    def child(self, run_id: str) -> RunDirectory:
        """The directory of one child run."""
        return RunDirectory(self.children / checked_run_id(run_id))

    def child_directories(self) -> list[RunDirectory]:
        """The directories of all child runs that were made, in no order."""
        try:
            names = os.listdir(self.children)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self.child(name) for name in names if RUN_ID.fullmatch(name)]

    @property
    def draft(self) -> Draft:
        """Where a workspace is built before it is moved into place."""
        return Draft(self.path)

    @property
    def git_config(self) -> Path:
        """The git configuration that a child's steps see as the user's."""
        return self.home / ".gitconfig"

    def script(self, step: str) -> Path:
        """The script of one step as it was run last, beside its log."""
        return self.logs / f"{checked_name(step, 'step')}.sh"

    @property
    def work(self) -> Path:
        """The workspace."""
        return self.path / "work"

    @property
    def view(self) -> Path:
        """What the workspace's copy-on-write view is made of; never visible to a step."""
        return self.path / "view"

    @property
    def workspace(self) -> tuple[Path, ...]:
        """All that clean-up may remove while the run is remembered."""
        return self.work, self.view, self.draft.work

    @property
    def upper(self) -> Path:
        """What the steps changed of the snapshot: the overlay's upper directory."""
        return self.view / "upper"

    @property
    def inner(self) -> Path:
        """The overlay's own work directory."""
        return self.view / "inner"

    def cache_view(self, place: str) -> tuple[Path, Path]:
        """Upper and inner directory of the overlay over a tool cache, by its place below the user's home."""
        name = encoded(place)
        return self.view / f"cache-{name}", self.view / f"inner-{name}"

    @property
    def shared_memory(self) -> Path:
        """Where the steps' private /dev/shm is mounted."""
        return self.view / "shm"

    @property
    def repo(self) -> Path:
        """The repository's files inside the workspace."""
        return self.work / "repo"

    @property
    def home(self) -> Path:
        """HOME of the steps of a child."""
        return self.work / "home"

    @property
    def exchange(self) -> Path:
        """Where `$TAKO_OUTPUT` and `$TAKO_ENV` files lie."""
        return self.work / "tmp"

    def step_outputs(self, step: str) -> Path:
        """`$TAKO_OUTPUT` of one step."""
        return self.exchange / f"{checked_name(step, 'step')}.outputs"

    def step_environment(self, step: str) -> Path:
        """`$TAKO_ENV` of one step."""
        return self.exchange / f"{checked_name(step, 'step')}.env"

    @property
    def received_artifacts(self) -> Path:
        """`$TAKO_ARTIFACTS`: what the run that emitted the event produced."""
        return self.work / "artifacts"

    @property
    def received_children(self) -> Path:
        """`$TAKO_CHILDREN`: what the children produced, by repository and artifact."""
        return self.work / "children"


@value
class Draft(RunDirectory):
    """A run's directory whose workspace is not in place yet."""

    @property
    def work(self) -> Path:
        """The unfinished workspace."""
        return self.path / ".new"


@value
class SeenDirectory(RunDirectory):
    """A run's directory as its steps see it at level `namespace`."""

    home_seen: Path = Path("/workspace/home")

    @property
    def work(self) -> Path:
        """The workspace."""
        return Path("/workspace")

    @property
    def home(self) -> Path:
        """HOME, where the password file says that it is."""
        return self.home_seen

    @property
    def temporary(self) -> Path:
        """TMPDIR."""
        return Path("/tmp")  # noqa: S108 - private to the sandbox

    def script(self, step: str) -> Path:
        """The script of one step."""
        return Path("/tako") / f"{checked_name(step, 'step')}.sh"


#: Of a scratch directory in TAKO_HOME in which isolation is tried.
PROBE_PREFIX = ".probe-"
FROM_BELOW, MOVED = "from-below", "moved"
BASH = Path("/bin/bash")
DEV_SHM = Path("/dev/shm")  # noqa: S108 - private to the sandbox
ETC = Path("/etc")
VENV_CONFIG = "pyvenv.cfg"
RESOLV_CONF = "/etc/resolv.conf"


def semaphore_prefix(private: str) -> str:
    """What the names of all semaphores of one `tako exec` begin with (sem_overview(7))."""
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
        """What is shown."""
        return self.path / "lower"

    @property
    def upper(self) -> Path:
        """What was changed of it."""
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


@value
class CacheLayout:
    """The shared repository cache."""

    path: Path

    @property
    def repos(self) -> Path:
        """Checkouts put there by hand: `<owner>/<name>/<branch>/`."""
        return self.path / "repos"

    @property
    def git(self) -> Path:
        """Bare mirrors and what is registered: `<owner>/<name>.git`, `<owner>/<name>.json`."""
        return self.path / "git"

    @property
    def snapshots(self) -> Path:
        """Immutable trees: `<owner>/<name>/<key>/`."""
        return self.path / "snapshots"

    @property
    def index(self) -> Path:
        """What is remembered to be faster; may be deleted at any time."""
        return self.path / "index"

    @property
    def locks(self) -> Path:
        """One lock for each repository; never unlinked."""
        return self.path / "locks"

    def mirror(self, owner: str, name: str) -> Path:
        """The bare mirror of a repository, whose parts are encoded already (here and below)."""
        return self.git / owner / f"{name}.git"

    def registration(self, owner: str, name: str) -> Path:
        """Where a repository is fetched from and what was fetched last."""
        return self.git / owner / f"{name}.json"

    def snapshots_of(self, owner: str, name: str) -> Path:
        """All snapshots of one repository."""
        return self.snapshots / owner / name

    def snapshot(self, owner: str, name: str, key: str) -> Path:
        """One immutable tree."""
        return self.snapshots_of(owner, name) / key

    def snapshot_used(self, owner: str, name: str, key: str) -> Path:
        """A file whose mtime says when a snapshot was last asked for."""
        return self.snapshots_of(owner, name) / f"{key}.used"

    def remembered_config(self, owner: str, name: str, commit: str) -> Path:
        """The tako.yml of a commit."""
        return self.index / "configs" / owner / name / commit

    @property
    def sound_configs(self) -> Path:
        """The digests of tako.yml files without mistakes."""
        return self.index / "sound-configs"

    def remembered_content(self, owner: str, name: str, branch: str) -> Path:
        """The signature of a checkout put there by hand, and the content that it had."""
        return self.index / "contents" / owner / name / branch

    def lock(self, owner: str, name: str) -> Path:
        """The reader/writer lock of one repository."""
        return self.locks / owner / f"{name}.lock"

    @property
    def git_config(self) -> Path:
        """The config with which git reads local repositories that are fetched from."""
        return self.index / "reading.gitconfig"

    @property
    def locks_probed(self) -> Path:
        """On which file system and in which boot locks were seen to work."""
        return self.index / "locks-probed"


def objects_from(snapshot: Path, mirror: Path) -> str:
    """The path to a mirror's objects as a snapshot's repository counts it: from its own objects."""
    return os.path.relpath(mirror / OBJECTS, snapshot / GIT_NAME / OBJECTS)


def is_objects_of(path: str, mirror: Path) -> bool:
    """Whether a path, wherever the cache was when it was written, was that to the mirror's objects."""
    return Path(path).parts[-4:] == (mirror / OBJECTS).parts[-4:]


def objects_of(source: Path) -> Path | None:
    """The mirror's objects, from which the snapshot of a commit reads; None for what is no snapshot."""
    repository, owner, snapshots = source.parents[0], source.parents[1], source.parents[2]
    cache = CacheLayout(snapshots.parent)
    return cache.mirror(owner.name, repository.name) / "objects" if snapshots == cache.snapshots else None


@value
class Home:
    """`$TAKO_HOME`."""

    path: Path
    cache_dir: Path | None = None

    @property
    def config(self) -> Path:
        """The user's settings."""
        return self.path / "config.yml"

    @property
    def cache(self) -> CacheLayout:
        """The shared cache, elsewhere if `--cache-dir` says so."""
        return CacheLayout(self.cache_dir or self.path / "cache")

    @property
    def isolation_probed(self) -> Path:
        """Which isolation levels were seen to work, in which boot."""
        return self.path / "isolation-probed.json"

    @cached_property
    def workspaces(self) -> Path:
        """The run directories of root runs."""
        return self.path / "workspaces"

    @cached_property
    def unsettled(self) -> Path:
        """An empty file for each root run that may not be settled: where to look, never what is true."""
        return self.path / "index" / "unsettled"

    @cached_property
    def kept(self) -> Path:
        """A file for each settled root run with workspaces: when it ended and how many bytes they have."""
        return self.path / "index" / "kept"

    @cached_property
    def veils(self) -> Path:
        """An empty directory, on which each worker mounts what only it and its steps see."""
        return self.path / "index" / "veils"

    @cached_property
    def trash(self) -> Path:
        """What was removed and is still being emptied."""
        return self.path / "trash"

    def run(self, run_id: str) -> RunDirectory:
        """The directory of one root run."""
        return RunDirectory(self.workspaces / checked_run_id(run_id))

    def making(self, run_id: str) -> RunDirectory:
        """The directory of a root run until its lock is held."""
        return RunDirectory(self.workspaces / f"{TEMPORARY_PREFIX}{checked_run_id(run_id)}")

    def run_ids(self) -> list[str]:
        """The ids of all root runs, in no order."""
        try:
            return [name for name in os.listdir(self.workspaces) if RUN_ID.fullmatch(name)]
        except FileNotFoundError:
            return []


def absolute(path: str) -> Path:
    """Give `path` as seen from the working directory, without following links.

    Raises `NotFoundError` if that directory was removed.
    """
    try:
        return Path(os.path.abspath(path))
    except FileNotFoundError:
        message = "the directory you are in does not exist any more"
        raise NotFoundError(message, hint="change to another directory") from None


def home_from(environment: dict[str, str], cache_dir: str = "") -> Home:
    """Find `$TAKO_HOME` (default `~/.tako`), both made absolute.

    Raises `ReferenceInvalidError` if neither TAKO_HOME nor HOME is set.
    """
    text = environment.get("TAKO_HOME") or ""
    if not text:
        user_home = environment.get("HOME") or ""
        if not user_home:
            message = "neither TAKO_HOME nor HOME is set"
            raise ReferenceInvalidError(message)
        text = os.path.join(user_home, ".tako")
    return Home(absolute(text), absolute(cache_dir) if cache_dir else None)
