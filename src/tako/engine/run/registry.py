"""The runs of one execution tree as the root process knows them: their specs, and their journals."""

from __future__ import annotations

from collections.abc import Callable

from tako.engine.run.journals import Journals
from tako.engine.run.spec import RunSpec
from tako.errors import DiskFullError
from tako.journal.records import Record


class Tree:
    """Unsettled runs by id; only the driver's thread uses it."""

    def __init__(self, root: RunSpec, on_full: Callable[[DiskFullError], None]) -> None:
        """`on_full` is told when the disk is full; from then on records use the reserved room."""
        self.root = root
        self.specs: dict[str, RunSpec] = {root.run_id: root}
        self.journals = Journals(on_full)

    def record(self, run_id: str, record: Record, *, final: bool = False) -> None:
        """Add a record to a run's journal, now or when its worker is gone; raises as `Journals.record`."""
        self.journals.record(self.specs[run_id].paths, record, final=final)
