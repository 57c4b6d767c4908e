"""Damages files of `TAKO_HOME` at random and runs every command: `python -m tests.crash.random_damage`.

A home with runs is made once and copied for each case; one file of it is damaged, then each command must end
with 0, 1, 2 or 4 and, where it failed, with a sentence, never as a bug of tako, and never hang. It prints its
seed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.support import zygote as forking
from tests.support.git import Repositories
from tests.support.runner import Finished, Tako, clean_environment
from tests.support.scenes import FAN_OUT, scene

#: Bounds a hang: a FIFO that is opened, a lock that is waited for.
_WITHIN_S = 40.0
CODES = (0, 1, 2, 4)
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("runs",),
    ("runs", "--output", "json"),
    ("status",),
    ("status", "RUN"),
    ("status", "RUN", "--output", "json"),
    ("logs", "RUN"),
    ("exec", "--resume", "RUN", "--explain"),
    ("reap", "--dry-run"),
    ("shell", "RUN", "--", "true"),
    ("cache", "list"),
    ("cache", "verify"),
    ("cache", "prune", "--dry-run"),
    ("workspace", "clean", "--dry-run"),
    ("doctor",),
    ("exec", "--resume", "RUN"),
    ("reap",),
    ("workspace", "clean", "--all", "--yes"),
    ("cache", "prune"),
    ("cache", "sync"),
    ("exec", "release"),
)
_ODD: tuple[Any, ...] = (
    None, True, -1, 10**400, 1e300, -1e300, 0.5, "", "x", "\x00", "../../x", "/", [], [[]], {}, {"a": 1},
    "9" * 5000,
)  # fmt: skip


@frozen
class World:
    """A home with runs that failed, broke off and succeeded; and where its library lies."""

    tako: Tako
    checkout: Path
    run: str

    def files(self) -> list[Path]:
        """What may be damaged: all that tako reads itself, thus nothing of git's own, and no workspace."""
        home = self.tako.home
        found = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
        own = (path.relative_to(home).parts for path in found)
        return sorted(home.joinpath(*parts) for parts in own if not any(map(_is_not_ours, parts)))


def _is_not_ours(part: str) -> bool:
    return part == "work" or part.endswith(".git")


def make_world(directory: Path, fork: forking.Zygote) -> World:
    """Make the home, and everything in it that tako may read."""
    directory.mkdir(exist_ok=True)
    tako = Tako(clean_environment(directory), directory, fork)
    with scene(tako, Repositories(directory / "repositories"), directory) as made:
        made.settings("isolation: process\njobs: 2\n")
        made.subscriber("acme/app", "true")
        made.subscriber("acme/bad", "false")
        source = made.git_repo("acme/far", {"tako.yml": "version: 0.1.0\n"})
        assert tako("cache", "add", "acme/far", "--from", source).code == 0
        checkout = made.library("echo begun", FAN_OUT, "true")
        assert tako("exec", "release", "--keep", cwd=checkout).code == 1
        [run] = tako("runs", "--output", "json").json
        assert tako("doctor").code in (0, 4)
    return World(tako, checkout, run["run_id"])


# --- damage ---


def _scrambled(data: bytes, chance: random.Random) -> bytes:
    kind = chance.randrange(5)
    if kind == 0 or not data:
        return chance.randbytes(chance.choice((0, 1, 200)))
    at = chance.randrange(len(data))
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
    if kind == 3:
        return data[:at] + b"\0" * chance.randrange(1, 5000) + data[at:]
    return data[:at] + data[chance.randrange(len(data)) :]


def _altered(value: Any, chance: random.Random) -> Any:  # noqa: ANN401 - plain JSON
    """Put something else at one place of a JSON value, or take something out."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(sorted(value))
        if chance.random() < 0.25:
            return {name: held for name, held in value.items() if name != key}
        return value | {key: _altered(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], _altered(value[at], chance), *value[at + 1 :]]
    return chance.choice(_ODD)


def _altered_json(data: bytes, chance: random.Random) -> bytes:
    try:
        return json.dumps(_altered(json.loads(data), chance)).encode()
    except ValueError:
        return _scrambled(data, chance)


def _signed(line: bytes, chance: random.Random) -> bytes:
    body = json.loads(line)
    del body["crc"]
    text = json.dumps(_altered(body, chance), separators=(",", ":")).encode()
    return text[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(text)


def _journal(data: bytes, chance: random.Random) -> bytes:
    """Lines that are whole: missing, moved, doubled, or saying something else."""
    lines = data.splitlines(keepends=True)
    kind = chance.randrange(4)
    if kind == 0:
        lines = [line for line in lines if chance.random() < 0.8]
    elif kind == 1:
        chance.shuffle(lines)
    elif kind == 2:
        lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    else:
        at = chance.randrange(len(lines))
        lines[at] = _signed(lines[at], chance)
    return b"".join(lines)


def _replaced(path: Path, chance: random.Random) -> str:
    """Put something that is not a regular file in a file's place."""
    path.unlink()
    kind = chance.choice(("nothing", "directory", "fifo", "dangling link", "loop", "device"))
    match kind:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "dangling link":
            path.symlink_to("nowhere/at/all")
        case "loop":
            path.symlink_to(path.name)
        case "device":
            path.symlink_to("/dev/zero" if chance.random() < 0.1 else os.devnull)
    return kind


def damage(path: Path, chance: random.Random) -> str:
    """Damage one file; give how."""
    if chance.random() < 0.25:
        return _replaced(path, chance)
    if chance.random() < 0.1:
        path.chmod(0)
        return "mode 000"
    ways: list[Callable[[bytes, random.Random], bytes]] = [_scrambled, _altered_json]
    if path.name == "journal.jsonl":
        ways = [_journal, _journal, _scrambled]
    way = chance.choice(ways)
    try:
        path.write_bytes(way(path.read_bytes(), chance))
    except OSError as error:
        return f"nothing: {error}"
    return way.__name__


# --- cases ---


def problem(ended: Finished) -> str:
    """What is wrong with how a command ended; empty if nothing is."""
    if "Traceback" in ended.stderr or "bug in tako" in ended.stderr or "Traceback" in ended.stdout:
        return "a bug"
    if ended.code not in CODES:
        return f"exit code {ended.code}"
    return "" if ended.code == 0 or ended.stderr.strip() or ended.stdout.strip() else "no word"


def chosen(files: list[Path], chance: random.Random) -> Path:
    """Give one of the files, each kind as likely as another: a cache has many of some kinds."""
    kinds: dict[tuple[str, bool], list[Path]] = {}
    for file in files:
        name = file.parent.name if file.name.startswith("exec-") else file.name
        kinds.setdefault((name, file.parent.parent.name == "children"), []).append(file)
    return chance.choice(chance.choice(list(kinds.values())))


def one_case(world: World, chance: random.Random) -> Iterator[str]:
    """Damage one file, run all commands, and put everything back; gives what went wrong."""
    home = world.tako.home
    saved = home.with_name("saved-home")
    shutil.copytree(home, saved, symlinks=True)
    try:
        path = chosen(world.files(), chance)
        how = damage(path, chance)
        for words in COMMANDS:
            arguments = [world.run if word == "RUN" else word for word in words]
            try:
                ended = world.tako(*arguments, cwd=world.checkout)
            except TimeoutError:
                yield f"{path.relative_to(home)} ({how}): tako {' '.join(words)}: does not end"
                return
            if wrong := problem(ended):
                told = f"{path.relative_to(home)} ({how}): tako {' '.join(words)}: {wrong}"
                yield f"{told}\n{ended.stdout[-300:]}{ended.stderr[-3000:]}"
    finally:
        shutil.rmtree(home)
        saved.rename(home)


def run_cases(seed: int, count: int, directory: Path) -> Iterator[str]:
    """Run some cases; gives all that goes wrong."""
    chance = random.Random(seed)
    done = 0
    while done < count:
        with forking.zygote(clean_environment(directory), answers_within_s=_WITHIN_S) as fork:
            world = make_world(directory / f"world-{done}", fork)
            while done < count and fork.is_usable:
                for text in one_case(world, chance):
                    yield f"case {done} of seed {seed}: {text}"
                done += 1


def main() -> int:
    """Run as many cases as were asked for; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.count} cases", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        wrong = 0
        for text in run_cases(arguments.seed, arguments.count, Path(directory)):
            wrong += 1
            print(f"{text}\n", flush=True)
    print(f"{wrong} commands went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
