"""The event log of one run: append-only, with a cursor per iterator.

Only a live cursor that lags holds producers back; an iterator that is let go (a loop broken out of)
counts no more.
"""

from __future__ import annotations

import asyncio
import weakref

from anyio.lowlevel import checkpoint_if_cancelled

from flowdecode.events import Event

__all__ = ["Cursor", "Journal"]

MAX_LAG = 1024
"""Events that a live cursor may lag behind before producers wait for it."""

CHECK_EVERY = 16
"""Waits after which a cursor asks whether it was cancelled: where an event comes at every turn of the
loop, anyio never finds its future waiting, and so never delivers."""


class Journal:
    """Events are appended synchronously; producers `await drained()` where `congested` says so."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False
        self._cursors: weakref.WeakSet[Cursor] = weakref.WeakSet()
        self._readers: list[asyncio.Future[None]] = []
        self._producers: list[asyncio.Future[None]] = []
        self._check_at = MAX_LAG
        self._unbounded = False

    def append(self, event: Event) -> None:
        """Add an event and wake who waits for it."""
        self.events.append(event)
        if self._readers:
            _wake(self._readers)

    def close(self) -> None:
        """No more events: cursors end after the last one."""
        self.closed = True
        _wake(self._readers)

    def cursor(self) -> Cursor:
        """A new iterator over all events, from the first one."""
        cursor = Cursor(self)
        weakref.finalize(cursor, _wake, self._producers)
        self._cursors.add(cursor)
        self._check_at = 0
        return cursor

    def unbind(self) -> None:
        """Hold producers back no more: somebody waits for the end of the run."""
        self._unbounded = True
        _wake(self._producers)

    @property
    def congested(self) -> bool:
        """Whether a live cursor lags too far. Cheap: looks again only when one could have come to lag."""
        length = len(self.events)
        if length < self._check_at or self._unbounded:
            return False
        slowest = min((cursor.position for cursor in self._cursors), default=length)
        self._check_at = slowest + MAX_LAG
        return length >= self._check_at

    async def drained(self) -> None:
        """Wait until no live cursor lags too far."""
        while self.congested and not self.closed:
            await _wait(self._producers)

    async def appended(self) -> None:
        """Wait for the next event, or the end."""
        await _wait(self._readers)

    def advanced(self, position: int) -> None:
        """A cursor moved on: producers may look again."""
        if self._producers and position + MAX_LAG // 2 >= len(self.events):
            _wake(self._producers)


class Cursor:
    """One reader's place in a journal."""

    def __init__(self, journal: Journal) -> None:
        self.position = 0
        self._waits = 0
        self._journal = journal

    def __aiter__(self) -> Cursor:
        return self

    async def __anext__(self) -> Event:
        journal = self._journal
        while self.position == len(journal.events):
            if journal.closed:
                raise StopAsyncIteration
            await journal.appended()
            self._waits += 1
            if not self._waits % CHECK_EVERY:
                await checkpoint_if_cancelled()
        event = journal.events[self.position]
        self.position += 1
        journal.advanced(self.position)
        return event


async def _wait(waiters: list[asyncio.Future[None]]) -> None:
    future = asyncio.get_running_loop().create_future()
    waiters.append(future)
    try:
        await future
    finally:
        if future in waiters:
            waiters.remove(future)


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    woken = waiters[:]
    waiters.clear()
    for future in woken:
        if not future.done():
            future.set_result(None)
