"""Kills at random times over random trees, several at once, each run taken up until it ends.

    python -m tests.crash.random_kills --kills 300 [--seed N] [--at-once 4]

In: numbers. Out: exit code 0 if every run came to what it would have been undisturbed, with no step done
twice that was recorded, and nothing left. The seed is printed first: with the same seed the trees and the
plan of the kills are the same, the moments are as exact as the machine. Whoever dies is the warden, the root,
a slot, a worker, the forkserver, a step, or all of tako's processes at one moment.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import psutil
from attrs import define, field, frozen

from tako.sandbox.policy import PROCESS
from tests.crash.places import Place, nothing_is_left, nothing_ran_twice, plain
from tests.support.git import Repositories
from tests.support.run_processes import title
from tests.support.runner import Tako, clean_environment, command
from tests.support.scenes import subscription, tako_yml, workflow

#: The others only once in a while: there no step can write outside of its workspace that it ran, or failed.
LEVELS = ("process", "process", "landlock", "namespace")
VICTIMS = ("warden", "root", "slot", "worker", "forkserver", "step", "all")
_SESSIONS_MAX = 60
_ENDED_WITHIN_S = 120.0


@frozen
class Tree:
    """One random tree: the library's workflow, and the other repositories by name."""

    library: dict[str, Any]
    others: dict[str, str]
    isolation: str


def _step(rng: random.Random, name: str, isolation: str) -> dict[str, Any]:
    said = f'echo "$TAKO_REPOSITORY $TAKO_STEP" >> "$RAN"; sleep {rng.choice([0, 0.02, 0.1, 0.3])}'
    if rng.random() < 0.8 or isolation != PROCESS:
        return {"id": name, "run": said}
    mark = '"$RAN.$(basename "$TAKO_REPOSITORY").$TAKO_STEP"'
    retry = {"max_attempts": 2, "backoff": "20ms", "clean": rng.random() < 0.5}
    return {"id": name, "run": f"{said}\n[ -e {mark} ] || {{ touch {mark}; exit 1; }}", "retry": retry}


def _fan_out(rng: random.Random, name: str, event: str) -> dict[str, Any]:
    options: dict[str, Any] = {"event_type": event, "payload": {}, "wait_for_children": rng.random() < 0.8}
    if rng.random() < 0.3:
        options["concurrency_limit"] = 1
    return {"id": name, "uses": "tako/fan-out@v1", "with": options}


def random_tree(rng: random.Random) -> Tree:
    """Up to three levels of up to three children each."""
    others: dict[str, str] = {}
    isolation = rng.choice(LEVELS)

    def grow(name: str, depth: int, **keys: object) -> dict[str, Any]:
        steps = [_step(rng, f"step-{number}", isolation) for number in range(rng.randint(1, 2))]
        for number in range(rng.randint(1, 2) if depth == 0 else rng.randint(0, 1) if depth < 3 else 0):
            event = f"event-{number}"
            steps.append(_fan_out(rng, f"fan-{number}", event))
            for _ in range(rng.randint(1, 3)):
                child = f"acme/r{len(others)}"
                others[child] = ""
                flow = grow(child, depth + 1)
                others[child] = tako_yml({"check": flow}, [subscription(name, events=[event])])
        return workflow(*steps, _step(rng, "last", isolation), **keys)

    return Tree(grow("acme/lib", 0, on="exec"), others, isolation)


def _made(directory: Path, tree: Tree) -> Place:
    directory.mkdir()
    Repositories(directory / "repositories")("acme/lib", {"tako.yml": tako_yml({"release": tree.library})})
    home = directory / "tako-home"
    for name, config in tree.others.items():
        checkout = home / "cache" / "repos" / name / "main"
        checkout.mkdir(parents=True)
        (checkout / "tako.yml").write_text(config)
    home.mkdir(exist_ok=True)
    home.chmod(0o700)
    (home / "config.yml").write_text("environment: [RAN]\n")
    place = Place(directory, Tako(clean_environment(directory), directory))
    place.points.mkdir()
    return place


@define
class Story:
    """One run, from its beginning through all kills to its end."""

    place: Place
    isolation: str
    rng: random.Random
    kills: int
    log: list[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with what the story is of."""
        self.log = [self.isolation]

    def go(self) -> Any:  # noqa: ANN401 - JSON
        """Give the result of the session that came to its end."""
        for session in range(_SESSIONS_MAX):
            words = ["release"] if self.place.run is None else ["--resume", self.place.run.run_id]
            code, out, err = self._session(words, kill=session < self.kills)
            self.log.append(f"{' '.join(words)}: {code}")
            run = self.place.run
            if code == 0:
                return json.loads(out)
            if code == 2 and "before it began" in err:
                # Killed before its first record: it is started anew.
                assert run is not None
                subprocess.run(["rm", "-r", str(run.path)], check=True)
                continue
            expected = (1, 4) if self.log[-2:-1] == ["killed step: 1"] else (4, -signal.SIGKILL)
            assert code in expected, f"exit code {code}: {err}"
        message = "it does not come to its end"
        raise AssertionError(message)

    def _session(self, words: list[str], *, kill: bool) -> tuple[int, str, str]:
        options = ["--jobs", "2", "--isolation", self.isolation, "--output", "json"]
        ran = str(self.place.directory / "ran") if self.isolation == PROCESS else os.devnull
        process = subprocess.Popen(
            [*command(), "exec", *words, *options],
            cwd=self.place.checkout,
            env={**self.place.tako.environment, "RAN": ran},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if kill:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.rng.uniform(0.02, 2.0))
            self._kill(process, self.rng.choice(VICTIMS))
        out, err = process.communicate(timeout=_ENDED_WITHIN_S)
        return process.returncode, out, err

    def _kill(self, process: subprocess.Popen[str], victim: str) -> None:
        if process.poll() is not None:
            return
        with contextlib.suppress(psutil.Error, IndexError):
            chosen = _victims(psutil.Process(process.pid), victim)
            if chosen:
                self.log.append(f"killed {victim}: {len(chosen)}")
            # As nearly at one moment as can be; one that has ended must not keep the others stopped.
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for one in chosen:
                    with contextlib.suppress(psutil.Error):
                        one.send_signal(number)


def _victims(warden: psutil.Process, victim: str) -> list[psutil.Process]:
    if victim == "warden":
        return [warden]
    root = warden.children()[0]
    if victim == "root":
        return [root]
    below = root.children(recursive=True)
    titled = [one for one in below if title(one).startswith("tako: ")]
    if victim == "all":
        return [warden, root, *titled]
    if victim in ("forkserver", "slot"):
        return [one for one in titled if title(one) == f"tako: {victim}"][:1]
    # As soon as its first step runs, a worker has its repository's name.
    workers = [one for one in titled if title(one).startswith("tako: acme/")]
    return workers[:1] if victim == "worker" else workers[0].children()[:1]


def check(directory: Path, seed: str, kills: int) -> list[str]:
    """Disturb one random tree; gives what happened. Raises `AssertionError` if it ends as it should not."""
    tree = random_tree(random.Random(seed))
    calm = _made(directory / "calm", tree)
    wanted = plain(Story(calm, tree.isolation, random.Random(), 0).go())
    story = Story(_made(directory / "disturbed", tree), tree.isolation, random.Random(f"{seed} kills"), kills)
    try:
        assert plain(story.go()) == wanted
        nothing_ran_twice(story.place)
        nothing_is_left(story.place)
        assert set(story.place.ran) == set(calm.ran)
    except AssertionError as error:
        error.add_note("\n".join([f"seed {seed}", *story.log]))
        raise
    return story.log


def main() -> int:
    """Run as many stories as it takes for so many kills."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", default=os.urandom(4).hex())
    parser.add_argument("--at-once", type=int, default=4)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    failures: list[str] = []
    done = [0]
    numbers = iter(range(1 << 20))
    lock = threading.Lock()

    def work() -> None:
        while not failures and done[0] < options.kills:
            with lock:
                number = next(numbers)
            seed = f"{options.seed}-{number}"
            with tempfile.TemporaryDirectory() as directory:
                try:
                    log = check(Path(directory), seed, random.Random(seed).randint(1, 4))
                except Exception:  # noqa: BLE001 - the other threads end first
                    failures.append(traceback.format_exc())
                    return
            with lock:
                done[0] += sum(entry.startswith("killed") for entry in log)
                print(f"{done[0]} kills: {seed}: {', '.join(log)}", flush=True)

    began = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(options.at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{done[0]} kills in {time.monotonic() - began:.0f} s, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
