"""What a test may not leave behind: tasks, sockets, and requests that an engine still decodes."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from flowdecode.backend import Load

__all__ = ["Watched", "no_leaks"]

_TURNS = 100
"""Turns of the event loop that transports and finished tasks have for going away."""


class Watched(Protocol):
    """A backend that tells what it is doing."""

    async def load(self) -> Load | None: ...


@asynccontextmanager
async def no_leaks(*backends: Watched) -> AsyncGenerator[None]:
    """Fail if the block leaves a task or a socket more than there were, or a backend with a request."""
    tasks, sockets = asyncio.all_tasks(), _open_sockets()
    yield
    for _ in range(_TURNS):
        left = asyncio.all_tasks() - tasks
        if not left and _open_sockets() <= sockets:
            break
        await asyncio.sleep(0)
    else:
        left = asyncio.all_tasks() - tasks
        assert not left, f"tasks left behind: {left}"
        assert _open_sockets() <= sockets, f"{_open_sockets() - sockets} sockets left open"
    for backend in backends:
        load = await backend.load()
        assert load in (None, Load(0, 0)), f"requests left in the engine: {load}"


def _open_sockets() -> int:
    return sum(_is_socket(int(name)) for name in os.listdir("/dev/fd")) if Path("/dev/fd").is_dir() else 0


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:  # the descriptor of the listing itself
        return False
