"""A step: the tokens of one forward pass, and for each of them the part of the pool that it attends over.

Threads with the same stem, what they inherited, attend over it together; over what each has fed itself
since they attend side by side, in place where it lies at equal distances in the pool. Other threads
attend side by side over copies, and a chunk of a prompt attends for itself. Shorter ones are padded:
a query attends over at most `SLACK` slots that it does not see, whatever the others hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from flowdecode_backends.local.attention import Bools, Branches, Chunk, Ints, Lanes, Piece, Rows
from flowdecode_backends.local.pool import Pool
from flowdecode_backends.local.thread import Thread

__all__ = ["SLACK", "Step"]

SLACK = 1024
"""The most slots that a query attends over without seeing them."""

_PADDING = 64
"""Slots that a short thread is padded with rather than have a call of its own."""

_WORTH_A_CALL = 512
"""Slots that are cheaper to read in place by calls of their own than to copy beside others'."""


class _Fed(NamedTuple):
    """What a thread contributes to a step."""

    number: int
    thread: Thread
    tokens: list[int]
    positions: list[int]
    slots: list[int]


class Step:
    """The tokens of all threads that take part in one forward pass, in the order of its pieces."""

    def __init__(self, pool: Pool, device: torch.device) -> None:
        self.pool = pool
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.pieces: list[Piece] = []
        self.last: dict[int, int] = {}
        """The index of the last token of each feed; known once the step is closed."""
        self._device = device
        self._fed: list[_Fed] = []

    def __len__(self) -> int:
        """The number of feeds."""
        return len(self._fed)

    def feed(self, thread: Thread, count: int) -> int:
        """Add the first `count` pending tokens of a thread; the feed's number. Raises PoolFull."""
        self._fed.append(_Fed(len(self._fed), thread, *thread.feed(count)))
        return len(self._fed) - 1

    def close(self) -> None:
        """Order the tokens and fix what each sees; called once, behind the last `feed`."""
        slots: list[int] = []
        for group, piece in self._grouped():
            start = len(self.tokens)
            for fed in group:
                self.tokens += fed.tokens
                self.positions += fed.positions
                slots += fed.slots
                self.last[fed.number] = len(self.tokens) - 1
            piece.queries = slice(start, len(self.tokens))
            self.pieces.append(piece)
        self.slots = slice(slots[0], slots[-1] + 1) if _consecutive(slots) else self._tensor(np.array(slots))

    def _grouped(self) -> Iterator[tuple[list[_Fed], Piece]]:
        families: dict[tuple[int, int], list[_Fed]] = {}
        others: list[_Fed] = []
        for fed in self._fed:
            if len(fed.tokens) > 1:
                yield [fed], self._chunk(fed)
            elif fed.thread.straight:
                families.setdefault(fed.thread.origin, []).append(fed)
            else:
                others.append(fed)
        for (stem, _), family in families.items():
            if len(family) == 1 and stem > 0 and family[0].thread.count < _WORTH_A_CALL:
                others += family
            else:
                family.sort(key=lambda fed: fed.thread.start)
                yield family, self._branches(family, stem)
        for group in _similar(sorted(others, key=lambda fed: fed.thread.count)):
            yield group, self._rows(group)

    def _chunk(self, fed: _Fed) -> Chunk:
        """Several tokens of one thread, which see each other in order."""
        thread, count = fed.thread, len(fed.tokens)
        hidden: Bools = np.zeros((count, thread.count), np.bool_)
        hidden[:, -count:] = ~np.tri(count, dtype=np.bool_)
        distance = np.array(fed.positions)[:, None] - self.pool.positions[thread.seen]
        return Chunk(self._part(thread, thread.count), hidden, distance, self._device)

    def _branches(self, family: list[_Fed], stem: int) -> Branches:
        """One token each of threads with the same stem."""
        positions: Ints = np.array([fed.positions for fed in family])
        lanes = [self._lanes(group, stem) for group in _equally_spaced(family, stem, self.pool.slots)]
        if not stem:
            return Branches(None, lanes, None, self._device)
        thread = family[0].thread
        return Branches(
            self._part(thread, stem), lanes, positions - self.pool.positions[thread.seen[:stem]], self._device
        )

    def _lanes(self, group: list[_Fed], stem: int) -> Lanes:
        """What each has fed itself, at equal distances."""
        starts: Ints = np.array([[fed.thread.start] for fed in group])
        counts: Ints = np.array([[fed.thread.count - stem] for fed in group])
        length = int(counts.max())
        columns: Ints = np.arange(length)
        positions: Ints = np.array([fed.positions for fed in group])
        return Lanes(
            first=int(starts[0, 0]),
            apart=int(starts[1, 0] - starts[0, 0]) if len(group) > 1 else 0,
            length=length,
            hidden=columns >= counts,
            distance=positions - self.pool.positions[starts + columns],
            device=self._device,
        )

    def _rows(self, group: list[_Fed]) -> Rows:
        """One token each of any threads."""
        counts: Ints = np.array([[fed.thread.count] for fed in group])
        slots: Ints = np.empty((len(group), int(counts.max())), np.int64)
        for row, fed in enumerate(group):
            slots[row, : fed.thread.count] = fed.thread.seen
            slots[row, fed.thread.count :] = fed.thread.seen[0]
        columns: Ints = np.arange(int(counts.max()))
        positions: Ints = np.array([fed.positions for fed in group])
        distance = positions - self.pool.positions[slots]
        return Rows(self._tensor(slots), columns >= counts, distance, self._device)

    def _part(self, thread: Thread, count: int) -> slice | torch.Tensor:
        """The first slots that a thread sees, as a range if they are one."""
        slots = thread.seen[:count]
        first, last = int(slots[0]), int(slots[-1])
        if last - first == count - 1 and bool((np.diff(slots) == 1).all()):
            return slice(first, last + 1)
        return self._tensor(slots)

    def _tensor(self, array: Ints) -> torch.Tensor:
        return torch.as_tensor(array, device=self._device)


def _similar(ordered: Iterable[_Fed]) -> Iterator[list[_Fed]]:
    """Threads of similar lengths, the shortest first."""
    group: list[_Fed] = []
    for fed in ordered:
        if group and not _near(group[0].thread.count, fed.thread.count):
            yield group
            group = []
        group.append(fed)
    if group:
        yield group


def _equally_spaced(family: list[_Fed], stem: int, slots: int) -> Iterator[list[_Fed]]:
    """Threads of similar lengths that start at equal distances, in the order of the pool."""
    group: list[_Fed] = []
    fewest = most = 0
    for fed in family:
        thread, count = fed.thread, fed.thread.count - stem
        fewest, most = min(fewest, count), max(most, count)
        starts = [one.thread.start for one in group[-2:]]
        fits = _near(fewest, most) and thread.start + most <= slots
        if group and not (fits and (len(starts) < 2 or thread.start - starts[1] == starts[1] - starts[0])):
            yield group
            group = []
        if not group:
            fewest = most = count
        group.append(fed)
    yield group


def _near(fewest: int, most: int) -> bool:
    return most <= fewest + min(max(fewest // 2, _PADDING), SLACK)


def _consecutive(slots: list[int]) -> bool:
    return slots == list(range(slots[0], slots[0] + len(slots)))
