"""Attention over the pool, for unmodified model classes: each query sees what its thread sees.

A step feeds the new tokens of many threads as one sequence. Threads whose slots lie together attend
over one piece of the pool, under a mask, in one call; that is faster than a call for each as long as
the piece holds little that a thread does not see: at most `SLACK` slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import scaled_dot_product_attention

from flowdecode_backends.local.pool import Pool
from flowdecode_backends.local.thread import Thread

__all__ = ["NAME", "SLACK", "Piece", "Step", "pool_attention"]

NAME = "flowdecode_pool"
"""The name under which transformers knows `pool_attention`."""

SLACK = 1024
"""The most slots that a query attends over without seeing them."""


class Piece:
    """Some of a step's queries, and the part of the pool that holds all they see."""

    def __init__(
        self,
        queries: slice | torch.Tensor,
        slots: slice | torch.Tensor,
        sees: torch.Tensor,
        distance: torch.Tensor,
    ) -> None:
        self.queries = queries
        self.slots = slots
        self._sees = sees
        self._distance = distance
        self._masks: dict[tuple[int | None, int], torch.Tensor] = {}

    def part(self, stored: torch.Tensor) -> torch.Tensor:
        """Its slots of a layer's keys or values: a view where they are a range, else a copy."""
        if isinstance(self.slots, slice):
            return stored[:, self.slots]
        return stored.index_select(1, self.slots)

    def mask(self, window: int | None, groups: int, dtype: torch.dtype) -> torch.Tensor:
        """What is added to the scores, `[groups * queries, slots]`; a window hides older positions."""
        key = (window, groups)
        if key not in self._masks:
            sees = self._sees if window is None else self._sees & (self._distance < window)
            mask = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
            self._masks[key] = mask.masked_fill_(~sees, float("-inf")).repeat(groups, 1)
        return self._masks[key]


class Step:
    """The tokens of one forward pass, of all threads that take part in it."""

    def __init__(self, pool: Pool, device: torch.device) -> None:
        self.pool = pool
        self.device = device
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.last: list[int] = []
        """The index of the last token of each fed thread, in the order of feeding."""
        self._slots: list[int] = []
        self._single: list[tuple[Thread, int]] = []
        self._several: list[tuple[Thread, int, int]] = []

    def feed(self, thread: Thread, count: int) -> None:
        """Add the first `count` pending tokens of a thread. Raises PoolFull."""
        start = len(self.tokens)
        tokens, positions, slots = thread.feed(count)
        self.tokens += tokens
        self.positions += positions
        self._slots += slots
        self.last.append(len(self.tokens) - 1)
        if count == 1:
            self._single.append((thread, start))
        else:
            self._several.append((thread, start, count))

    def close(self) -> None:
        """Fix what every query sees; called once, behind the last `feed`."""
        self.slots = torch.tensor(self._slots, device=self.device)
        self.pieces = [
            *(self._piece([thread for thread, _ in group], [at for _, at in group], cover)
              for group, cover in self._groups()),
            *(self._chunk(*chunk) for chunk in self._several),
        ]  # fmt: skip

    def _groups(self) -> Iterator[tuple[list[tuple[Thread, int]], Cover]]:
        """The threads that feed one token, grouped where a cover holds little that one of them can't see."""
        group: list[tuple[Thread, int]] = []
        cover: Cover | None = None
        for member in sorted(self._single, key=lambda member: (member[0].low, member[0].high)):
            larger = Cover.of(member[0]) if cover is None else cover.with_thread(member[0])
            if larger is None:
                assert cover is not None
                yield group, cover
                group, larger = [], Cover.of(member[0])
            group.append(member)
            cover = larger
        if cover is not None:
            yield group, cover

    def _piece(self, threads: list[Thread], queries: list[int], cover: Cover) -> Piece:
        rows = [thread.row for thread in threads]
        if isinstance(cover.slots, slice):
            sees = self.pool.visible[rows, cover.slots]
        else:
            sees = self.pool.visible[np.array(rows)[:, None], cover.slots]
        whole = queries == list(range(len(self.tokens)))
        return self._make(slice(None) if whole else self._tensor(np.array(queries)), queries, cover, sees)

    def _chunk(self, thread: Thread, start: int, count: int) -> Piece:
        """Several tokens of one thread, which see each other in order."""
        cover = Cover.of(thread)
        sees = np.repeat(self.pool.visible[thread.row, cover.slots][None], count, 0)
        new = cover.index(np.array(self._slots[start : start + count]))
        sees[:, new] = np.tri(count, dtype=np.bool_)
        return self._make(slice(start, start + count), range(start, start + count), cover, sees)

    def _make(
        self,
        queries: slice | torch.Tensor,
        indices: list[int] | range,
        cover: Cover,
        sees: npt.NDArray[np.bool_],
    ) -> Piece:
        at = np.array([self.positions[index] for index in indices])
        distance = at[:, None] - self.pool.positions[cover.slots][None]
        slots = cover.slots if isinstance(cover.slots, slice) else self._tensor(cover.slots)
        return Piece(queries, slots, self._tensor(sees), self._tensor(distance))

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(array, device=self.device)


class Cover:
    """A part of the pool, as a range where that costs little, else slot by slot."""

    def __init__(self, slots: slice | npt.NDArray[np.int64], low: int, high: int, fewest: int) -> None:
        self.slots = slots
        self._low = low
        self._high = high
        self._fewest = fewest

    @classmethod
    def of(cls, thread: Thread) -> Cover:
        """All that one thread sees."""
        low, high = thread.low, thread.high
        if high - low <= thread.count + SLACK:
            return cls(slice(low, high), low, high, thread.count)
        return cls(_seen(thread), low, high, thread.count)

    def with_thread(self, thread: Thread) -> Cover | None:
        """The cover with what another thread sees; None where one of them would see too little of it."""
        low, high = min(self._low, thread.low), max(self._high, thread.high)
        fewest = min(self._fewest, thread.count)
        if high - low <= fewest + SLACK:
            return Cover(slice(low, high), low, high, fewest)
        ours = np.arange(self._low, self._high) if isinstance(self.slots, slice) else self.slots
        slots = np.union1d(ours, _seen(thread))
        return Cover(slots, low, high, fewest) if len(slots) <= fewest + SLACK else None

    def index(self, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where slots stand in the cover."""
        return slots - self._low if isinstance(self.slots, slice) else np.searchsorted(self.slots, slots)


def _seen(thread: Thread) -> npt.NDArray[np.int64]:
    return thread.low + np.flatnonzero(thread.pool.visible[thread.row, thread.low : thread.high])


def pool_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    step: Step,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of one layer: `query` is `[1, heads, tokens, dimension]`, and so on with fewer heads.

    The queries of the heads that share keys are laid one behind the other, so that keys are read once.
    """
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    pool = step.pool
    pool.write(layer, step.slots, key[0], value[0])
    keys, values = pool.keys[layer], pool.values[layer]
    _, heads, count, dimension = query.shape
    shared, width = keys.shape[0], values.shape[2]
    groups = heads // shared
    output = query.new_empty(1, count, heads, width)
    for piece in step.pieces:
        asked = query[:, :, piece.queries]
        here = asked.shape[2]
        asked = asked.reshape(1, shared, groups * here, dimension)
        seen, told = piece.part(keys)[None], piece.part(values)[None]
        mask = piece.mask(sliding_window, groups, query.dtype)
        if softcap is None:
            told = scaled_dot_product_attention(asked, seen, told, attn_mask=mask, scale=scaling)
        else:
            scores = asked @ seen.transpose(2, 3) * (dimension**-0.5 if scaling is None else scaling)
            told = (torch.tanh(scores / softcap) * softcap + mask).softmax(-1) @ told
        output[:, piece.queries] = told.view(1, heads, here, width).transpose(1, 2)
    return output, None
