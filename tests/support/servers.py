"""A real git server on loopback that is not well all the time."""

from __future__ import annotations

import base64
import contextlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.support.authority import Authority
from tests.support.git import git


class Server(http.server.ThreadingHTTPServer):
    """Serves files; the first `failing` requests are answered with `status`."""

    failing = 0
    status = 503
    asked = 0
    scheme = "http"
    #: `user:password` that everybody has to give.
    login = ""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://localhost:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Say nothing of who does not trust it."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        wanted = f"Basic {base64.b64encode(self.server.login.encode()).decode()}"
        if self.server.asked <= self.server.failing:
            self.send_error(self.server.status)
        elif self.server.login and self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(checkout: Path, directory: Path, name: str, *, tls: Authority | None = None) -> Iterator[Server]:
    """Serve a clone of a checkout as `/<name>.git`, over git's protocol for plain files."""
    git(checkout, "clone", "--quiet", "--bare", ".", str(directory / f"{name}.git"))
    git(directory / f"{name}.git", "update-server-info")
    made = Server(("127.0.0.1", 0), partial(_Handler, directory=str(directory)))
    if tls is not None:
        made.scheme = "https"
        made.socket = tls.context.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()
