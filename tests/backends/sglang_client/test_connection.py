"""The connection to a server that ends connections of its own accord."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from flowdecode.errors import BackendUnavailable
from flowdecode_backends.sglang_client import connection
from flowdecode_backends.sglang_client.connection import KEEP_ALIVE, Connection

pytestmark = pytest.mark.anyio

CLOSES_AFTER = 0.1
UVICORN_CLOSES_AFTER = 5


class Handler(BaseHTTPRequestHandler):
    """Answers everything with `{}`, and closes a connection that is idle."""

    protocol_version = "HTTP/1.1"
    timeout = CLOSES_AFTER

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        Thread(target=listener.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()


def the_program_does_something_else() -> None:
    """The event loop stands still, and does not see what comes meanwhile."""
    time.sleep(3 * CLOSES_AFTER)


async def asked_before_and_after(url: str) -> bytes:
    opened = Connection(url, {}, patience=0)
    try:
        await opened.post("/generate", {})
        the_program_does_something_else()
        return await opened.post("/generate", {})
    finally:
        await opened.close()


async def test_an_idle_connection_is_given_up_before_the_server_does(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "KEEP_ALIVE", CLOSES_AFTER / 2)
    assert await asked_before_and_after(server) == b"{}"
    assert KEEP_ALIVE < UVICORN_CLOSES_AFTER


async def test_one_that_is_kept_for_longer_is_lost(server: str) -> None:
    with pytest.raises(BackendUnavailable):
        await asked_before_and_after(server)
