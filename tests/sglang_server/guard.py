"""Runs a command that must not outlive its caller: `guard.py SECONDS COMMAND...`, with a pipe as its input.

The command's process group is killed when the input ends (the caller has closed it, or is gone), on
SIGTERM, or when the seconds are over.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time


def main(seconds: float, command: list[str]) -> int:
    deadline = time.monotonic() + seconds
    signal.signal(signal.SIGTERM, leave)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if select.select([sys.stdin], [], [], 0.2)[0] and not os.read(sys.stdin.fileno(), 4096):
                break
    finally:
        end(process)
    return process.returncode


def leave(number: int, _: object) -> None:
    sys.exit(128 + number)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started: asked politely, an SGLang server takes seven seconds to end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
