"""What a test may not leave behind: tasks, sockets, and requests that an engine still decodes."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol

from flowdecode.backend import Load

__all__ = ["Watched", "no_leaks"]

_DESCRIPTORS = Path("/dev/fd")
_TURNS = 100
"""Turns of the event loop that transports and finished tasks have for going away."""


class Watched(Protocol):
    """A backend that tells what it is doing."""

    async def load(self) -> Load | None: ...


def no_leaks(*backends: Watched) -> AbstractAsyncContextManager[None, None]:
    """Fail if the block leaves a task or a socket more than there were, or a backend with a request."""
    return _NoLeaks(backends)


class _NoLeaks(AbstractAsyncContextManager[None, None]):
    def __init__(self, backends: tuple[Watched, ...]) -> None:
        self._backends = backends

    async def __aenter__(self) -> None:
        self._tasks, self._sockets = asyncio.all_tasks(), _open_sockets()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc, AssertionError):
            return  # which says more than what it left behind
        for _ in range(_TURNS):
            if not self._left() and _open_sockets() <= self._sockets:
                break
            await asyncio.sleep(0)
        assert not self._left(), f"tasks left behind: {self._left()}"
        assert _open_sockets() <= self._sockets, "sockets left open"
        for backend in self._backends:
            load = await backend.load()
            left = load is not None and load.running + load.waiting
            assert not left, f"requests left in the engine: {load}"

    def _left(self) -> set[asyncio.Task[object]]:
        return asyncio.all_tasks() - self._tasks - {asyncio.current_task()}


def _open_sockets() -> int:
    return sum(map(_is_socket, _DESCRIPTORS.iterdir())) if _DESCRIPTORS.is_dir() else 0


def _is_socket(descriptor: Path) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(int(descriptor.name)).st_mode)
    except OSError:  # the descriptor of the listing itself
        return False
