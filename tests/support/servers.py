"""A real git server on loopback that is not well all the time."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.support.git import git


class Server(http.server.ThreadingHTTPServer):
    """Serves files; the first `failing` requests are answered with `status`."""

    failing = 0
    status = 503
    asked = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.server.asked <= self.server.failing:
            self.send_error(self.server.status)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(checkout: Path, directory: Path, name: str) -> Iterator[Server]:
    """Serve a clone of a checkout as `/<name>.git`, over git's protocol for plain files."""
    git(checkout, "clone", "--quiet", "--bare", ".", str(directory / f"{name}.git"))
    git(directory / f"{name}.git", "update-server-info")
    made = Server(("127.0.0.1", 0), partial(_Handler, directory=str(directory)))
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()
