"""A relay passes everything on, and says when there is nothing more to pass on."""

from __future__ import annotations

import os
import select

from tako.system.terminal.relay import Relay


def test_a_relay_is_idle_when_all_that_was_written_has_been_passed_on() -> None:
    (source, give), (take, target) = os.pipe(), os.pipe()
    relay = Relay(source, target)

    def is_idle() -> bool:
        return relay.is_idle

    try:
        os.write(give, b"x" * 1000)
        assert os.read(take, 2000) == b"x" * 1000
        while not is_idle():
            select.select([], [], [], 0.01)
        # More than the next pipe holds: the relay cannot pass it on before somebody reads.
        os.write(give, b"y" * 65536)
        os.write(give, b"y" * 4096)
        assert not is_idle()
        os.close(give)
        assert not select.select([relay.over], [], [], 0)[0]
        taken = b""
        while len(taken) < 65536 + 4096:
            taken += os.read(take, 65536)
        assert select.select([relay.over], [], [], 60)[0]
    finally:
        for descriptor in (source, target, take, relay.over):
            os.close(descriptor)
