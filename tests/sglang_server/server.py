"""Servers of the real SGLang on loopback, and the gateway before them: started, waited for, ended."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.sglang_server import environment, guard

__all__ = ["Gateway", "Process", "Server", "free_port"]

LONGEST_LIFE = 900.0
"""Seconds after which a server ends whatever becomes of the tests."""
START = 300.0
"""Seconds that a server has for its start; it takes about 30 on two idle cores."""


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Process:
    """A process of the server's environment that serves on loopback; a context manager that ends it."""

    health = "/health"

    def __init__(self, arguments: Sequence[str], log: Path, *, port: int | None = None) -> None:
        """Start `python ARGUMENTS --port PORT`; what it writes goes to `log`. Returns before it is up."""
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.log = log
        python = str(environment.folder() / "bin" / "python")
        command = [python, *arguments, "--host", "127.0.0.1", "--port", str(self.port)]
        self._command = [sys.executable, guard.__file__, str(LONGEST_LIFE), *command]
        self._guard = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment.variables(),
            )

    def restart(self) -> None:
        """Start it again, on the same port; returns before it is up."""
        self.stop()
        self._guard = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def wait(self) -> None:
        """Wait until it serves. Raises RuntimeError with the end of its log where it does not."""
        deadline = time.monotonic() + START
        while not self._healthy():
            if self._guard.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
                raise RuntimeError(f"Expected a server at {self.url}, it did not come up:\n{tail}")
            time.sleep(0.25)

    def stop(self) -> None:
        """End it and all its processes; returns when they are gone."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + self.health, timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class Server(Process):
    """One SGLang server with a model; `flags` come last on its command line."""

    def __init__(self, model: Path, log: Path, *flags: str, port: int | None = None) -> None:
        self.model = model
        arguments = ["-m", "sglang.launch_server", "--model-path", str(model), "--device", "cpu"]
        arguments += ["--dtype", "float32", "--max-total-tokens", "32768", "--max-running-requests", "64"]
        arguments += ["--sleep-on-idle"]  # it would take a core of the tests' machine
        super().__init__([*arguments, "--enable-cache-report", *flags], log, port=port)


class Gateway(Process):
    """The SGLang model gateway in front of servers that are up."""

    health = "/readiness"
    """Its own `/health` is there before it knows its workers, and answers 503 in their place."""

    def __init__(self, servers: Sequence[Process], log: Path, *flags: str) -> None:
        arguments = [
            "-m",
            "sglang_router.launch_router",
            "--worker-urls",
            *(server.url for server in servers),
        ]
        super().__init__([*arguments, "--prometheus-port", str(free_port()), *flags], log)
