"""All attacks, in the order of the table in docs/sandbox.md."""

from __future__ import annotations

from tests.sandbox.attacks import (
    bombs,
    on_channels,
    on_environment,
    on_files,
    on_fresh,
    on_limits,
    on_machine,
    on_metadata,
    on_processes,
    on_settings,
    on_shown,
)

ATTACKS = (
    *on_files.ATTACKS,
    *on_processes.ATTACKS,
    *on_channels.ATTACKS,
    *bombs.ATTACKS,
    *on_environment.ATTACKS,
    *on_settings.ATTACKS,
    *on_shown.ATTACKS,
    *on_metadata.ATTACKS,
    *on_limits.ATTACKS,
    *on_machine.ATTACKS,
    *on_fresh.ATTACKS,
)
