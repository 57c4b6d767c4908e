"""The plain live view: every line of output with its repository and step in front.

An observer of the driver. It reads the journals and logs of the runs whose segment is running, a few
times a second and once more when the segment is over; it asks nothing of the engine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from tako.engine.run.spec import RunSpec
from tako.errors import TakoError
from tako.journal.log import Reader
from tako.journal.records import (
    EventEmitted,
    Noted,
    Record,
    RunFinished,
    RunRestarted,
    RunResumed,
    StepFinished,
    StepStarted,
)
from tako.journal.statuses import SUCCEEDED
from tako.report.text import Style, told
from tako.system.storage.writing import open_plain
from tako.system.terminal.streams import say
from tako.system.terminal.text import plain
from tako.units import format_bytes, format_duration

if TYPE_CHECKING:
    from tako.engine.fan_out.plan import FanOutPlan
    from tako.repositories.caveats import Caveat

#: Bytes of a log that are held at once.
_PIECE = 64 * 1024
#: How far the view may be behind before it skips, in bytes; much more than a person reads between two turns.
_BEHIND_MAX = 1024 * 1024
_LINE_MAX = 4096


class LiveText:
    """Writes the output of running steps to one stream."""

    def __init__(self, stream: TextIO) -> None:
        self.interval_s: float | None = 0.1
        self._stream = stream
        self._style = Style(stream)
        self._followers: dict[str, _Follower] = {}
        self._known: dict[str, _Follower] = {}
        self._dead = False

    def segment_started(self, spec: RunSpec) -> None:
        """Start to follow the run, or continue."""
        follower = self._known.pop(spec.run_id, None) or _Follower(spec)
        self._followers[spec.run_id] = follower

    def segment_ended(self, spec: RunSpec) -> None:
        """Show the rest; a run that waits for children is followed again later."""
        follower = self._followers.pop(spec.run_id, None)
        if follower is not None:
            self._show(follower, rest=True)
            if not follower.finished:
                self._known[spec.run_id] = follower

    def planned(self, spec: RunSpec, step: str, plan: FanOutPlan) -> None:
        """Print the subscribers of the event.

        The journal's notes about them come later and are not printed again.
        """
        ready = sum(child.error is None for child in plan.children)
        prefix = _prefix(spec, step)
        again = (
            f"children left to run: {ready}" if plan.again else f"{ready} of {plan.found} subscriptions run"
        )
        lines = [f"{prefix}→ {again}"]
        lines += [
            f"{prefix}{self._style.sign('failed')} {child.record.repository}: {told(child.error.message)}"
            for child in plan.children
            if child.error is not None
        ]
        self._write(lines)

    def warned(self, spec: RunSpec, step: str, caveat: Caveat) -> None:
        """Return what the result has to be read with."""
        self._write([f"{_prefix(spec, step)}! {told(caveat.reason)}"])

    def worker_lost(self, spec: RunSpec, message: str) -> None:
        """Print that a worker died."""
        self._write([f"{_prefix(spec, '')}! its worker died: {told(message)}"])

    def stopping(self, name: str) -> None:
        """Print that the end has begun."""
        self._write([f"tako: {name}: ending all steps; once more ends them at once"])

    def turn(self) -> None:
        """Show what is new."""
        for follower in self._followers.values():
            self._show(follower, rest=False)

    def _show(self, follower: _Follower, *, rest: bool) -> None:
        for lines in follower.new_lines(self._style, rest=rest):
            self._write(lines)

    def _write(self, lines: list[str]) -> None:
        if not lines or self._dead:
            return
        self._dead = not say(self._stream, "\n".join(lines) + "\n")


def _prefix(spec: RunSpec, step: str) -> str:
    return f"[{spec.repository} {step}] " if step else f"[{spec.repository}] "


class _Follower:
    """Reads one run's journal and logs from where it stopped."""

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._reader = Reader(spec.paths.journal)
        # What was before a run was taken up has been shown before.
        self._reader.skip_before_last(RunResumed)
        self._offsets: dict[str, int] = {}
        self._partial: dict[str, bytes] = {}
        #: Steps whose notes the view was told of when they were planned.
        self._fan_outs: set[str] = set()
        self.finished = False

    def new_lines(self, style: Style, *, rest: bool) -> Iterator[list[str]]:
        """Yield the new bytes since the last call, in pieces.

        With `rest` also a last line without newline.
        """
        records: list[Record] = []
        with suppress(TakoError):
            records = list(self._reader.new_records())
        for record in records:
            yield from self._of_record(record, style)
        for step in list(self._offsets):
            yield from self._output(step, style, rest=rest)

    def _of_record(self, record: Record, style: Style) -> Iterator[list[str]]:
        match record:
            case StepStarted(step=step):
                self._offsets[step] = record.log_offset
                yield [f"{_prefix(self._spec, step)}{style.sign('running')} started"]
            case StepFinished(step=step) if step in self._offsets:
                yield from self._output(step, style, rest=True)
                del self._offsets[step]
                yield [_prefix(self._spec, step) + _ended(record, style)]
            case EventEmitted(step=step):
                self._fan_outs.add(step)
            case Noted(step=step) if step and step not in self._fan_outs:
                yield [f"{_prefix(self._spec, step)}! {told(record.message)}"]
            case RunRestarted(step=step):
                yield [f"{_prefix(self._spec, step)}! all of its steps run again, in a new workspace"]
            case RunFinished():
                self.finished = True
                if record.status != SUCCEEDED and record.message:
                    yield [f"{_prefix(self._spec, '')}{style.sign(record.status)} {told(record.message)}"]

    def _output(self, step: str, style: Style, *, rest: bool) -> Iterator[list[str]]:
        end, skipped = self._skip(step)
        prefix = _prefix(self._spec, step)
        if skipped:
            hint = f"tako logs {self._spec.run_id} {step}"
            yield [f"{prefix}… {format_bytes(skipped)} not shown here: {hint}"]
        # Up to where the log was: a step that writes faster than this reads must not hold the driver's loop.
        while self._offsets[step] < end and (data := self._read(step)):
            whole, newline, partial = (self._partial.pop(step, b"") + data).rpartition(b"\n")
            self._partial[step] = partial[-_LINE_MAX:]
            if newline:
                yield _lines(prefix, whole, style)
        if rest and (last := self._partial.pop(step, b"")):
            yield _lines(prefix, last, style)

    def _skip(self, step: str) -> tuple[int, int]:
        """Skip output if the view is far behind, so that it does not show old lines late.

        Returns the log's size and the number of bytes left out.
        """
        try:
            size = os.stat(self._spec.paths.log(step)).st_size
        except FileNotFoundError:
            return 0, 0
        behind = size - self._offsets[step]
        if behind <= _BEHIND_MAX:
            return size, 0
        self._partial.pop(step, None)
        self._offsets[step] = size - _PIECE
        return size, behind - _PIECE

    def _read(self, step: str) -> bytes:
        try:
            with open_plain(self._spec.paths.log(step)) as file:
                file.seek(self._offsets[step])
                data = file.read(_PIECE)
                self._offsets[step] = file.tell()
        except FileNotFoundError:
            return b""
        return data


def _lines(prefix: str, data: bytes, style: Style) -> list[str]:
    text = data.decode("utf-8", "replace")
    return [prefix + plain(line[:_LINE_MAX], colour=style.colour) for line in text.split("\n")]


def _ended(record: StepFinished, style: Style) -> str:
    message = f": {told(record.message)}" if record.message else ""
    return f"{style.sign(record.status)} {record.status}{message} ({format_duration(record.duration_s)})"
