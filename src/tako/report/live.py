"""The plain live view: every line of output with its repository and step in front.

An observer of the driver. It reads the journals and logs of the runs whose segment is running, a few
times a second and once more when the segment is over; it asks nothing of the engine.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from tako.engine.segment import RunSpec
from tako.errors import TakoError
from tako.journal.log import Reader
from tako.journal.records import SUCCEEDED, Noted, Record, RunFinished, StepFinished, StepStarted
from tako.report.text import Style, plain
from tako.units import format_bytes, format_duration

if TYPE_CHECKING:
    from tako.engine.fanout import FanOutPlan

_BEHIND_MAX = 256 * 1024
_LINE_MAX = 4096


class LiveText:
    """Writes what the running steps say to one stream."""

    def __init__(self, stream: TextIO) -> None:
        self.interval_s: float | None = 0.1
        self._stream = stream
        self._style = Style(stream)
        self._followers: dict[str, _Follower] = {}
        self._known: dict[str, _Follower] = {}
        self._dead = False

    def segment_started(self, spec: RunSpec) -> None:
        """Begin, or go on, to follow the run."""
        follower = self._known.pop(spec.run_id, None) or _Follower(spec)
        self._followers[spec.run_id] = follower

    def segment_ended(self, spec: RunSpec) -> None:
        """Show the rest; a run that waits for children is followed again later."""
        follower = self._followers.pop(spec.run_id, None)
        if follower is not None:
            self._write(follower.new_lines(self._style, rest=True))
            if not follower.finished:
                self._known[spec.run_id] = follower

    def planned(self, spec: RunSpec, step: str, plan: FanOutPlan) -> None:
        """Say whom the event reaches."""
        ready = sum(child.error is None for child in plan.children)
        prefix = _prefix(spec, step)
        lines = [f"{prefix}→ {ready} of {plan.found} subscriptions run"]
        lines += [f"{prefix}! {plain(warning)}" for warning in plan.warnings]
        lines += [
            f"{prefix}{self._style.sign('failed')} {child.record.repository}: {plain(child.error.message)}"
            for child in plan.children
            if child.error is not None
        ]
        self._write(lines)

    def worker_lost(self, spec: RunSpec, message: str) -> None:
        """Say that a worker died."""
        self._write([f"{_prefix(spec, '')}! its worker died: {plain(message)}"])

    def stopping(self, name: str) -> None:
        """Say that the end has begun."""
        self._write([f"tako: {name}: ending all steps; once more ends them at once"])

    def turn(self) -> None:
        """Show what is new."""
        for follower in self._followers.values():
            self._write(follower.new_lines(self._style, rest=False))

    def _write(self, lines: list[str]) -> None:
        if not lines or self._dead:
            return
        try:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except (BrokenPipeError, UnicodeEncodeError):
            # Nobody reads any more: the run must not suffer from that.
            self._dead = True


def _prefix(spec: RunSpec, step: str) -> str:
    return f"[{spec.repository} {step}] " if step else f"[{spec.repository}] "


class _Follower:
    """Reads one run's journal and logs from where it stopped."""

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._reader = Reader(spec.paths.journal)
        self._offsets: dict[str, int] = {}
        self._partial: dict[str, bytes] = {}
        self.finished = False

    def new_lines(self, style: Style, *, rest: bool) -> list[str]:
        """What has come since the last call; `rest` also gives a last line without newline."""
        lines: list[str] = []
        records: list[Record] = []
        with suppress(TakoError):
            records = list(self._reader.new_records())
        for record in records:
            lines += self._of_record(record, style)
        for step in list(self._offsets):
            lines += self._output(step, style, rest=rest)
        return lines

    def _of_record(self, record: Record, style: Style) -> list[str]:
        match record:
            case StepStarted(step=step):
                self._offsets.setdefault(step, 0)
                return [f"{_prefix(self._spec, step)}{style.sign('running')} started"]
            case StepFinished(step=step) if step in self._offsets:
                output = self._output(step, style, rest=True)
                del self._offsets[step]
                return [*output, _prefix(self._spec, step) + _ended(record, style)]
            case RunFinished():
                self.finished = True
                if record.status != SUCCEEDED and record.message:
                    return [f"{_prefix(self._spec, '')}{style.sign(record.status)} {plain(record.message)}"]
            case Noted():
                return [f"{_prefix(self._spec, record.step)}! {plain(record.message)}"]
        return []

    def _output(self, step: str, style: Style, *, rest: bool) -> list[str]:
        data, skipped = self._read(step)
        prefix = _prefix(self._spec, step)
        lines = []
        if skipped:
            hint = f"tako logs {self._spec.run_id} {step}"
            lines.append(f"{prefix}… {format_bytes(skipped)} not shown here: {hint}")
            self._partial.pop(step, None)
        data = self._partial.pop(step, b"") + data
        whole, newline, partial = data.rpartition(b"\n")
        if rest and partial:
            whole, partial = (whole + newline + partial), b""
        elif partial:
            self._partial[step] = partial[-_LINE_MAX:]
        if whole or newline:
            text = whole.decode("utf-8", "replace")
            lines += [prefix + plain(line[:_LINE_MAX], colour=style.colour) for line in text.split("\n")]
        return lines

    def _read(self, step: str) -> tuple[bytes, int]:
        """New bytes of the step's log; a view that is far behind skips to the end."""
        try:
            with open(self._spec.paths.log(step), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                skipped = max(0, size - self._offsets[step] - _BEHIND_MAX)
                file.seek(self._offsets[step] + skipped)
                data = file.read(_BEHIND_MAX)
                self._offsets[step] = file.tell()
        except FileNotFoundError:
            return b"", 0
        return data, skipped


def _ended(record: StepFinished, style: Style) -> str:
    message = f": {plain(record.message)}" if record.message else ""
    return f"{style.sign(record.status)} {record.status}{message} ({format_duration(record.duration_s)})"
