"""Measures tako side by side with a reference and prints ratios with what they must and should be.

In: the tako command, which rows, how many rounds. Out: a table, or JSON with `--json`; with
`--check` exit code 1 if a ratio is above its `must`. Measured and reference take turns within
each round, so that both see the same machine; a row's ratio is the median of the rounds' ratios.
Everything is made below one temporary directory. README, "Speed", shows the rows and what they must be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

_POLL_S = 0.01
_GB = 1_000_000_000

TRUE_STEP = "version: 0.1.0\nworkflows:\n  one:\n    steps:\n      - {id: step, run: 'true'}\n"

LOUD_STEP = (
    "version: 0.1.0\nworkflows:\n  one:\n    steps:\n"
    f"      - {{id: step, run: 'yes 0123456789abcdef | head -c {_GB}'}}\n"
)

GUARDED_STEP = LOUD_STEP.replace("{id: step,", "{id: step, secrets: [ONE, TWO],")
SECRETS = {"ONE": "ghp_a+b/c~d'e f9\"$X", "TWO": "another-value-0123456789"}

PARENT = """\
version: 0.1.0
workflows:
  release:
    steps:
      - id: build
        run: "true"
        produces: {events: [{type: built}]}
      - {id: dependents, uses: tako/fan-out@v1, with: {event_type: built}}
"""

CHILD = """\
version: 0.1.0
workflows:
  one:
    steps:
      - {id: step, run: 'true'}
subscriptions:
  - {artifact: "bench/parent:default", events: [built], workflow: one}
"""


@dataclass(frozen=True)
class Row:
    """One line of the table; `ratio` is measured over reference, None if it could not be measured."""

    name: str
    what: str
    ratio: float | None
    must: float
    aim: float
    measured: float = 0.0
    reference: float = 0.0
    unit: str = "s"
    note: str = ""

    @property
    def verdict(self) -> str:
        """Say in one word how the ratio stands."""
        if self.ratio is None:
            return "unknown"
        if self.ratio <= self.aim:
            return "aim"
        return "must" if self.ratio <= self.must else "MISSED"


@dataclass(frozen=True)
class Bench:
    """Where and with what everything is measured."""

    tako: str
    scratch: Path
    rounds: int

    def environment(self, home: str) -> dict[str, str]:
        """Give what a command gets: the user's PATH, and a `TAKO_HOME` of that name."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.scratch),
            "LANG": "C.UTF-8",
            "TAKO_HOME": str(self.scratch / home),
            **SECRETS,
        }

    def repository(self, name: str, config: str) -> Path:
        """Make a git repository with one file, `tako.yml`; its name is `bench/<name>`."""
        path = self.scratch / "repositories" / name
        path.mkdir(parents=True)
        (path / "tako.yml").write_text(config)
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0"]
        for arguments in (
            ["init", "--quiet", "--initial-branch=main"],
            ["remote", "add", "origin", f"https://example.invalid/bench/{name}.git"],
            ["add", "--all"],
            [*identity, "commit", "--quiet", "-m", "first"],
        ):
            subprocess.run(["git", *arguments], cwd=path, check=True)
        return path

    def known_children(self, home: str, count: int) -> None:
        """Put `count` subscribers into the cache of `home`, as a person would do it by hand."""
        for number in range(count):
            checkout = self.scratch / home / "cache" / "repos" / "bench" / f"child-{number}" / "main"
            checkout.mkdir(parents=True)
            (checkout / "tako.yml").write_text(CHILD)
        (self.scratch / home).chmod(0o700)

    def run(self, command: list[str], home: str = "home", cwd: Path | None = None, *, code: int = 0) -> float:
        """Run a command that must end with `code`, its output thrown away; gives seconds."""
        start = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=cwd or self.scratch,
            env=self.environment(home),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if done.returncode != code:
            raise subprocess.CalledProcessError(done.returncode, command)
        return time.perf_counter() - start

    def cpu(self, command: list[str], home: str = "home", cwd: Path | None = None) -> float:
        """Run a command; gives the CPU seconds of it and of all that it has waited for (getrusage(2))."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.run(command, home, cwd)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def side_by_side(
    rounds: int, measured: Callable[[], float], reference: Callable[[], float]
) -> tuple[float, float, float]:
    """Give median ratio, median measured, median reference; one round before them warms up."""
    pairs = [(measured(), reference()) for _ in range(rounds + 1)][1:]
    return (
        statistics.median(one / other for one, other in pairs),
        statistics.median(one for one, _ in pairs),
        statistics.median(other for _, other in pairs),
    )


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            text = (entry / "stat").read_text(errors="replace")
            yield int(entry.name), int(text.rpartition(")")[2].split()[1])


def _descendants(top: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, waiting = [], [top]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def _peak_rss(pid: int) -> int:
    """Give VmHWM in bytes (proc_pid_status(5)); 0 for what is gone or is no Python."""
    with contextlib.suppress(OSError, IndexError):
        if "python" not in (Path("/proc") / str(pid) / "exe").readlink().name:
            return 0
        text = (Path("/proc") / str(pid) / "status").read_text()
        return int(text.partition("VmHWM:")[2].split()[0]) * 1024
    return 0


def _first_child(top: int) -> list[int]:
    return sorted(pid for pid, parent in _parents() if parent == top)[:1]


def peak_memory(bench: Bench, command: list[str], home: str, cwd: Path, *, root_only: bool) -> int:
    """Run a command; gives the largest peak RSS, in bytes, of its root process or of any of its Pythons.

    The root process is the one child that the warden starts first.
    """
    peak = 0
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=bench.environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    watched: list[int] = []
    while process.poll() is None:
        if not root_only:
            watched = _descendants(process.pid)
        elif not watched:
            watched = _first_child(process.pid)
        peak = max([peak, *map(_peak_rss, watched)])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak


def start_up(bench: Bench) -> Row:
    """`tako version` over `python -c pass`."""
    ratio, measured, reference = side_by_side(
        bench.rounds,
        lambda: bench.run([bench.tako, "version"]),
        lambda: bench.run([sys.executable, "-c", "pass"]),
    )
    return Row("start", "tako version / python -c pass", ratio, 4.5, 2, measured, reference)


def one_step(bench: Bench) -> Row:
    """`tako exec` of one `true` step over `python -c pass`."""
    checkout = bench.repository("one", TRUE_STEP)
    ratio, measured, reference = side_by_side(
        bench.rounds,
        lambda: bench.run([bench.tako, "exec", "one"], cwd=checkout),
        lambda: bench.run([sys.executable, "-c", "pass"]),
    )
    return Row("step", "tako exec of one true step / python -c pass", ratio, 12, 6, measured, reference)


def children(bench: Bench) -> Row:
    """100 children of one `true` step over GNU parallel with results and joblog, two at a time."""
    what = "100 children of one true step, --jobs 2 / GNU parallel with results and joblog"
    parallel = shutil.which("parallel")
    if parallel is None:
        return Row("children", what, None, 4, 2, note="GNU parallel is not installed")
    checkout = bench.repository("parent", PARENT)
    bench.known_children("home-100", 100)
    numbers = [str(number) for number in range(100)]
    count = iter(range(10_000))

    def reference() -> float:
        directory = bench.scratch / f"parallel-{next(count)}"
        directory.mkdir()
        options = ["--results", str(directory / "results"), "--joblog", str(directory / "log")]
        return bench.run([parallel, "--jobs", "2", *options, "true", ":::", *numbers])

    ratio, measured, other = side_by_side(
        max(3, bench.rounds // 4),
        lambda: bench.run([bench.tako, "exec", "release", "--jobs", "2"], "home-100", checkout),
        reference,
    )
    note = f"{measured * 10:.1f} ms a child, {other * 10:.1f} ms a job"
    return Row("children", what, ratio, 4, 2, measured, other, note=note)


def child_cpu(bench: Bench) -> Row:
    """CPU time that one more child of one `true` step costs over that of `python -c pass`."""
    checkout = bench.repository("cpu", PARENT)
    subprocess.run(
        ["git", "remote", "set-url", "origin", "https://example.invalid/bench/parent.git"],
        cwd=checkout,
        check=True,
    )
    for count in (10, 100):
        bench.known_children(f"cpu-{count}", count)

    def one_more() -> float:
        command = [bench.tako, "exec", "release", "--jobs", "2"]
        few, many = (bench.cpu(command, f"cpu-{count}", checkout) for count in (10, 100))
        return (many - few) / 90

    ratio, measured, reference = side_by_side(
        max(3, bench.rounds // 4), one_more, lambda: bench.cpu([sys.executable, "-c", "pass"])
    )
    what = "CPU time of one more child (100 - 10 children, / 90) / of python -c pass"
    return Row("child-cpu", what, ratio, 4, 2, measured, reference)


def root_memory(bench: Bench) -> Row:
    """Peak memory of the root process at 1,000 children over 100."""
    checkout = bench.repository("memory", PARENT.replace("bench/parent", "bench/memory"))
    subprocess.run(
        ["git", "remote", "set-url", "origin", "https://example.invalid/bench/parent.git"],
        cwd=checkout,
        check=True,
    )
    peaks = []
    for count in (100, 1000):
        bench.known_children(f"memory-{count}", count)
        command = [bench.tako, "exec", "release", "--jobs", "2"]
        peaks.append(peak_memory(bench, command, f"memory-{count}", checkout, root_only=True))
    few, many = peaks
    what = "root's memory, 1,000 children / 100"
    return Row("memory", what, many / few, 2, 1.2, many / 1e6, few / 1e6, "MB")


def event_memory(bench: Bench) -> Row:
    """Peak memory of the root process with an event of 960 KiB over an empty one, 200 children."""
    peaks = []
    for name, payload in (("large", {"notes": "x" * (960 << 10)}), ("empty", {})):
        event = json.dumps({"type": "built", "payload": payload})
        config = PARENT.replace("{type: built}", event).replace("bench/parent", f"bench/event-{name}")
        checkout = bench.repository(f"event-{name}", config)
        url = "https://example.invalid/bench/parent.git"
        subprocess.run(["git", "remote", "set-url", "origin", url], cwd=checkout, check=True)
        bench.known_children(f"event-{name}", 200)
        command = [bench.tako, "exec", "release", "--jobs", "2", "--isolation", "process"]
        peaks.append(peak_memory(bench, command, f"event-{name}", checkout, root_only=True))
    large, empty = peaks
    what = "root's memory, 200 children of an event of 960 KiB / of an empty one"
    return Row("event", what, large / empty, 1.5, 1.2, large / 1e6, empty / 1e6, "MB")


_SANDBOXES = """
import json, os, statistics, subprocess, sys, tempfile, time
from pathlib import Path
from tako.sandbox import bubblewrap, namespace_level
from tako.sandbox.machine_view import machine_view
from tako.sandbox.policy import Mount, Policy
from tako.system.walls.namespaces import enter_own_namespaces

enter_own_namespaces()
machine = machine_view(os.environ, (Path(os.environ["HOME"]),), ())
directory = tempfile.mkdtemp(dir=sys.argv[1])
own = Mount(directory, "/workspace", writable=True)
mounts = (*(Mount(path, path) for path in (*machine.system, *machine.etc)), own)
policy = Policy({"PATH": os.defpath}, "/workspace", mounts=mounts, links=machine.links)
program = bubblewrap.find(os.environ)
words = [word for operation in namespace_level.operations(policy) for word in operation]
command = ("/bin/sh", "-e", "-c", "true")

def ours():
    started = namespace_level.launch(program, policy, command)
    started.process.communicate()
    started.check("")

def bare():
    environment = {"PATH": os.defpath}
    subprocess.run([program, *words, "--", *command], check=True, capture_output=True, env=environment)

def timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start

pairs = [(timed(ours), timed(bare)) for _ in range(int(sys.argv[2]) + 1)][1:]
ratio = statistics.median(one / other for one, other in pairs)
json.dump([ratio, *(statistics.median(times) for times in zip(*pairs))], sys.stdout)
"""


def sandbox(bench: Bench) -> Row:
    """A step at level `namespace` over a bare `bwrap` with the same options."""
    done = subprocess.run(
        [sys.executable, "-c", _SANDBOXES, str(bench.scratch), str(3 * bench.rounds)],
        env=bench.environment("home"),
        check=True,
        capture_output=True,
    )
    ratio, measured, reference = json.loads(done.stdout)
    return Row("sandbox", "a sandboxed step / bare bwrap, same options", ratio, 1.5, 1.1, measured, reference)


def _workspace_s(bench: Bench, checkout: Path, home: str) -> float:
    """Give how long the workspace of the one child took: from its first record to the one before its step."""
    bench.run([bench.tako, "exec", "release", "--keep"], home, checkout)
    journal = max((bench.scratch / home).glob("workspaces/*/children/*/journal.jsonl"), key=os.path.getmtime)
    at = {record["kind"]: record["at"] for record in map(json.loads, journal.read_text().splitlines())}
    return float(at["SandboxEntered"] - at["RunStarted"])


def workspace(bench: Bench) -> Row:
    """The workspace of a 20,000-file repository over that of one with 10 files."""
    parent = bench.repository("workspaces", PARENT)
    subprocess.run(
        ["git", "remote", "set-url", "origin", "https://example.invalid/bench/parent.git"],
        cwd=parent,
        check=True,
    )
    for home, count in (("few", 10), ("many", 20_000)):
        bench.known_children(home, 1)
        checkout = bench.scratch / home / "cache" / "repos" / "bench" / "child-0" / "main"
        for number in range(count):
            place = checkout / f"d{number // 200}" / f"f{number}"
            place.parent.mkdir(exist_ok=True)
            place.write_text(f"{number}\n")
    ratio, measured, reference = side_by_side(
        bench.rounds, lambda: _workspace_s(bench, parent, "many"), lambda: _workspace_s(bench, parent, "few")
    )
    what = "workspace of a repository of 20,000 files / 10 files"
    return Row("workspace", what, ratio, 1.5, 1.1, measured, reference)


_DEAD_RUNS = """
import json, sys
from attrs import asdict, evolve
from pathlib import Path
from tako.journal.log import line_of
from tako.journal.records import RunFinished, RunSettled, RunStarted, StepStarted
from tako.layout.home import Home
from tako.recovery.index import measure, note_opened, note_settled
from tako.system.process.identity import own_identity

home, count, live, kept = Home(Path(sys.argv[1])), *map(int, sys.argv[2:])
# A process that has ended: no other one has this pid and began when the machine did.
owner = evolve(own_identity(), start_time=1)
for number in range(count):
    paths = home.run(f"exec-20991231-235959-{number:08x}")
    paths.logs.mkdir(mode=0o700, parents=True)
    (paths.work / "tmp").mkdir(mode=0o700, parents=True)
    began = RunStarted(
        4e9, paths.run_id, paths.run_id, "bench/dead", "main", "c0ffee", "one", {}, "/nowhere", "", "process",
        owner, "", "0", steps=("step",),
    )
    records = [began, StepStarted(4e9, "step", 1, "k")]
    if number < live:
        note_opened(home, paths.run_id)
    else:
        records += [RunFinished(4e9, "failed"), RunSettled(4e9, "failed", 1)]
    if live <= number < live + kept:
        note_settled(home, paths, 4e9)
        measure(home, [paths.run_id])
    paths.journal.write_bytes(b"".join(map(line_of, records)))
    paths.lock.write_text(json.dumps({"identity": asdict(owner), "temporary": ""}))
"""


def _write_runs(bench: Bench, home: str, count: int, *, unsettled: int, kept: int = 0) -> None:
    (bench.scratch / home).mkdir(mode=0o700)
    numbers = map(str, (count, unsettled, kept))
    command = [sys.executable, "-c", _DEAD_RUNS, str(bench.scratch / home), *numbers]
    subprocess.run(command, env=bench.environment(home), check=True)


def reaping(bench: Bench) -> Row:
    """1,000 runs whose tako was killed, over the three seconds that this may take."""
    times = []
    for number in range(max(3, bench.rounds // 4)):
        _write_runs(bench, f"dead-{number}", 1000, unsettled=1000)
        times.append(bench.run([bench.tako, "reap"], f"dead-{number}"))
    took = statistics.median(times)
    what = "tako reap of 1,000 dead runs / the 3 s it may take"
    return Row("reap", what, took / 3, 1, 0.5, took, 3.0, note=f"{took:.2f} ms a run")


def resuming(bench: Bench) -> Row:
    """Taking up a run of 1,000 children that have all succeeded, over `tako status` of it."""
    checkout = bench.repository("resume", PARENT + "      - {id: after, run: 'false'}\n")
    subprocess.run(
        ["git", "remote", "set-url", "origin", "https://example.invalid/bench/parent.git"],
        cwd=checkout,
        check=True,
    )
    bench.known_children("resume", 1000)
    bench.run([bench.tako, "exec", "release", "--isolation", "process"], "resume", checkout, code=1)
    [run] = (path.name for path in (bench.scratch / "resume" / "workspaces").iterdir())
    ratio, measured, reference = side_by_side(
        max(3, bench.rounds // 2),
        lambda: bench.run([bench.tako, "exec", "--resume", run], "resume", checkout, code=1),
        lambda: bench.run([bench.tako, "status", run], "resume", checkout),
    )
    what = "tako exec --resume of a run of 1,000 finished children / tako status of it"
    return Row("resume", what, ratio, 2, 1.2, measured, reference)


_SWEEP = """
import fcntl, os, sys, time
from pathlib import Path
from tako.config.schema import Settings
from tako.layout.home import Home

home = Home(Path(sys.argv[1]))
for name in os.listdir(home.unsettled):
    # As their tako does while it lives.
    fcntl.flock(os.open(home.run(name).lock, os.O_RDWR), fcntl.LOCK_EX)
began = time.perf_counter()
from tako.recovery.sweep import sweep

sweep(home, Settings(), print)
print(time.perf_counter() - began)
"""


def sweeping(bench: Bench) -> Row:
    """The sweep at the start of an exec beside 1,000 runs, its import included, over 20 ms.

    20 of them keep their workspaces, as many as are kept without settings; 5 are under way.

    Taken inside of a process: between whole execs it is lost in what else makes them differ.
    """
    _write_runs(bench, "settled", 1000, unsettled=5, kept=20)
    command = [sys.executable, "-c", _SWEEP, str(bench.scratch / "settled")]
    environment = bench.environment("settled")
    times = [
        float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
        for _ in range(3 * bench.rounds)
    ]
    took = statistics.median(times)
    what = "the sweep of an exec beside 1,000 runs / the 20 ms it may add"
    return Row("sweep", what, took / 0.02, 1, 0.25, took, 0.02, note=f"{1000 * took:.1f} ms")


def loud_step(bench: Bench) -> Row:
    """Peak memory of any tako process while a step prints 1 GB over one that prints nothing."""
    command = [bench.tako, "exec", "one"]
    peaks = [
        peak_memory(bench, command, "home", bench.repository(name, config), root_only=False)
        for name, config in (("quiet", TRUE_STEP), ("loud", LOUD_STEP))
    ]
    quiet, loud = peaks
    what = "memory of a step printing 1 GB / nothing"
    return Row("output", what, loud / quiet, 1.2, 1.05, loud / 1e6, quiet / 1e6, "MB")


def guarded_step(bench: Bench) -> Row:
    """Time of a step that prints 1 GB and has two secrets over one that has none."""
    times = [
        bench.run([bench.tako, "exec", "one"], cwd=bench.repository(name, config))
        for name, config in (("open", LOUD_STEP), ("guarded", GUARDED_STEP))
    ]
    without, with_secrets = times
    what = "time of a step printing 1 GB, with two secrets / without"
    return Row("secrets", what, with_secrets / without, 6, 3, with_secrets, without)


ROWS: dict[str, Callable[[Bench], Row]] = {
    "start": start_up,
    "step": one_step,
    "children": children,
    "child-cpu": child_cpu,
    "memory": root_memory,
    "event": event_memory,
    "output": loud_step,
    "secrets": guarded_step,
    "sandbox": sandbox,
    "workspace": workspace,
    "reap": reaping,
    "resume": resuming,
    "sweep": sweeping,
}


def _line(row: Row) -> str:
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}x"
    values = "" if row.ratio is None else f"{row.measured:.4g} / {row.reference:.4g} {row.unit}"
    return (
        f"{row.what:<80} {ratio:>8} {row.must:>5g}x {row.aim:>5g}x  {row.verdict:<8}{values}"
        f"{'  ' + row.note if row.note else ''}"
    )


def as_text(rows: list[Row]) -> str:
    """Give the table."""
    head = f"{'measured / reference':<80} {'ratio':>8} {'must':>6} {'aim':>6}  reached"
    return "\n".join([head, *map(_line, rows)])


def as_json(rows: list[Row]) -> str:
    """Give the rows and the machine they were measured on."""
    machine = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cpus": len(os.sched_getaffinity(0)),
    }
    return json.dumps(
        {"machine": machine, "rows": [{**asdict(row), "verdict": row.verdict} for row in rows]}, indent=2
    )


def main() -> int:
    """Measure the rows asked for; 1 with `--check` if one is above its `must`."""
    parser = argparse.ArgumentParser(description="Measure tako side by side with a reference.")
    parser.add_argument("--tako", required=True, help="the command to measure")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--check", action="store_true", help="exit 1 if a ratio is above its must")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of the quick rows (default 20)")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of: {' '.join(ROWS)} (default all)")
    options = parser.parse_args()
    if unknown := set(options.rows) - ROWS.keys():
        parser.error(f"unknown row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    scratch = Path(tempfile.mkdtemp(prefix="tako-bench-"))
    try:
        bench = Bench(os.path.abspath(options.tako), scratch, options.rounds)
        rows = [ROWS[name](bench) for name in options.rows or ROWS]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(as_json(rows) if options.json else as_text(rows))
    return int(options.check and any(row.verdict == "MISSED" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
