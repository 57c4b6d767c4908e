"""The shape of a tako.yml as frozen values: the loader makes them, everything else reads them.

Durations are seconds, quantities bytes, CPUs cores. Texts that may hold templates or CEL
stay texts here; `validation.check` and `expressions` know what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tako.values import field, value


@value
class Mark:
    """A place in a file; both numbers count from 1."""

    file: str
    line: int
    column: int


@value
class Artifact:
    """A named output of the repository."""

    name: str
    path: str = ""
    ecosystem: str = ""
    description: str = ""


@value
class Validation:
    """The rules for an input's value beyond its type."""

    enum: tuple[object, ...] = ()
    pattern: str = ""
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None


@value
class Input:
    """One declared input; `type` is string, integer, number or boolean."""

    name: str
    type: str = "string"
    required: bool = False
    has_default: bool = False
    default: object = None
    description: str = ""
    validation: Validation = field(factory=Validation)


@value
class Resources:
    """Limits of a step or workflow; None is undeclared; `cpu_time_limit` in seconds."""

    cpu_limit: float | None = None
    mem_limit: int | None = None
    disk_limit: int | None = None
    process_limit: int | None = None
    cpu_time_limit: float | None = None
    address_space_limit: int | None = None


@value
class Retry:
    """How a failed step is tried again; `on` empty means any exit code."""

    max_attempts: int = 1
    backoff_s: float = 1.0
    on: tuple[int, ...] = ()
    clean: bool = False


@value
class EventSpec:
    """An event a step can emit; texts inside `payload` may hold templates."""

    type: str
    schema_version: str = "1.0.0"
    payload: Mapping[str, object] = field(factory=dict)


@value
class Produces:
    """The results of a step: `artifacts` maps an artifact's name to globs beneath the workspace."""

    artifact: str = ""
    artifacts: Mapping[str, tuple[str, ...]] = field(factory=dict)
    outputs: Mapping[str, str] = field(factory=dict)
    events: tuple[EventSpec, ...] = ()


@value
class Step:
    """One step: exactly one of `run` and `uses` is set."""

    id: str
    name: str = ""
    condition: str = ""
    run: str = ""
    uses: str = ""
    with_: Mapping[str, object] = field(factory=dict)
    env: Mapping[str, str] = field(factory=dict)
    secrets: tuple[str, ...] = ()
    timeout_s: float | None = None
    retry: Retry | None = None
    rerun: str = "allowed"
    resources: Resources | None = None
    network: str = "default"
    image: str = ""
    long_running: bool = False
    cache_key_files: tuple[str, ...] = ()
    continue_on_error: bool = False
    produces: Produces = field(factory=Produces)
    on_failure: tuple[Step, ...] = ()
    key: str = ""


def all_steps(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Return every step, each followed by its `on_failure` steps."""
    for step in steps:
        yield step
        yield from all_steps(step.on_failure)


@value
class Sandbox:
    """More paths that a workflow's steps may read or write."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


@value
class Workflow:
    """A named list of steps; `on` holds exec, event or both; `parallel` waives the repository's turn."""

    name: str
    on: tuple[str, ...] = ("exec", "event")
    description: str = ""
    env: Mapping[str, str] = field(factory=dict)
    secrets: tuple[str, ...] = ()
    resources: Resources | None = None
    timeout_s: float | None = None
    parallel: bool = False
    workspace: str = "auto"
    sandbox: Sandbox | None = None
    inputs: Mapping[str, Input] = field(factory=dict)
    steps: tuple[Step, ...] = ()
    key: str = ""

    @property
    def fans_out(self) -> bool:
        """Whether the workflow has a step that emits events."""
        return any(step.uses for step in self.steps)


@value
class Subscription:
    """On these events of `artifact` (`owner/name:artifact`), run `workflow` with these inputs."""

    artifact: str
    events: tuple[str, ...]
    workflow: str
    schema_version: str = ""
    filters: tuple[str, ...] = ()
    inputs: Mapping[str, object] = field(factory=dict)
    key: str = ""


@value
class Config:
    """One whole tako.yml. `marks` finds the place of a key path such as `workflows.release.steps[0].run`."""

    version: str
    artifacts: Mapping[str, Artifact] = field(factory=dict)
    workflows: Mapping[str, Workflow] = field(factory=dict)
    subscriptions: tuple[Subscription, ...] = ()
    file: str = "tako.yml"
    digest: str = ""
    marks: Mapping[str, Mark] = field(factory=dict, eq=False, repr=False)


@value
class SandboxSettings:
    """The user's grants of paths: `read` and `write` to all, `repositories` to those whose tako.yml asks.

    `tool_caches` are directories below the user's home, shown to each run with changes of its own.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    tool_caches: tuple[str, ...] = ()
    repositories: Mapping[str, Sandbox] = field(factory=dict)


@value
class FilterTime:
    """CPU seconds for the filters and templates of one repository's subscriptions, and of a fan-out's."""

    repository_s: float = 1.0
    fan_out_s: float = 5.0


@value
class KeptWorkspaces:
    """How many workspaces of runs that did not succeed are kept: root runs, seconds, bytes on disk."""

    runs: int = 20
    age_s: float = 7 * 24 * 3600.0
    size: int = 10 * 1024**3


@value
class MinFree:
    """How much of the disk is not for runs: bytes, a share of the file system, or the lower of both."""

    size: int | None = 1 << 30
    share: float | None = 0.05

    def of(self, total: int) -> int:
        """The bytes that it is of a file system of `total` bytes."""
        shares = (None if self.share is None else int(self.share * total), self.size)
        return min((size for size in shares if size is not None), default=0)


@value
class Settings:
    """The user's `$TAKO_HOME/config.yml`; every field has the default of a missing file."""

    jobs: int | None = None
    isolation: str = "auto"
    lock_timeout_s: float = 600.0
    url_template: str = ""
    repositories: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    cache_dir: str = ""
    sandbox: SandboxSettings = field(factory=SandboxSettings)
    #: The repositories that may have each secret.
    secrets: Mapping[str, tuple[str, ...]] = field(factory=dict)
    #: What all runs of a repository may use together, by `owner/name`; `default` is for the others, each.
    quotas: Mapping[str, Resources] = field(factory=dict)
    filter_time: FilterTime = field(factory=FilterTime)
    keep_workspaces: KeptWorkspaces = field(factory=KeptWorkspaces)
    #: How long journals and logs stay, in seconds.
    keep_runs_s: float = 90 * 24 * 3600.0
    #: Whether a stale source, a repository left out or an event without subscribers fails a fan-out.
    strict: bool = False
    min_free: MinFree = field(factory=MinFree)
