"""The pool: slots that hold one token's keys and values each, and who sees which of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Pool", "PoolFull"]

_NEAR = 256


class PoolFull(Exception):
    """Not enough free slots for what is to be fed."""


class Pool:
    """KV slots shared by all threads. The tensors of a layer are made when it first writes.

    `keys[layer]` and `values[layer]` are `[heads, slots, dimension]`. A slot's content never moves: what
    a thread sees is a row of `visible`, `[threads, slots]`. Bookkeeping is kept on the CPU.
    """

    def __init__(self, slots: int, threads: int) -> None:
        self.slots = slots
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}
        self.positions: npt.NDArray[np.int64] = np.zeros(slots, np.int64)
        """The position of each slot's token in its conversation."""
        self.visible: npt.NDArray[np.bool_] = np.zeros((threads, slots), np.bool_)
        self.free = slots
        """Slots that nobody holds."""
        self._is_free: npt.NDArray[np.bool_] = np.ones(slots, np.bool_)
        self._rows = list(range(threads))[::-1]

    @property
    def free_rows(self) -> int:
        """Threads that can still be opened."""
        return len(self._rows)

    @property
    def bytes_per_slot(self) -> int:
        """Bytes of one token over all layers that have written."""
        tensors = (*self.keys.values(), *self.values.values())
        return sum(tensor[:, 0].nbytes for tensor in tensors)

    def write(self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store the `keys` and `values`, `[heads, tokens, dimension]`, of new tokens."""
        if layer not in self.keys:
            for store, new in ((self.keys, keys), (self.values, values)):
                store[layer] = _zeros((new.shape[0], self.slots, new.shape[2]), new)
        self.keys[layer].index_copy_(1, slots, keys)
        self.values[layer].index_copy_(1, slots, values)

    def take(self, count: int, near: int = 0) -> npt.NDArray[np.int64]:
        """Take the first free slots from `near` on. Raises PoolFull, and takes none then.

        Slots that lie together are read without copying.
        """
        if count > self.free:
            raise PoolFull
        window = near + np.flatnonzero(self._is_free[near : near + _NEAR + count])
        if len(window) < count:
            window = np.flatnonzero(self._is_free)
            window = np.roll(window, -int(np.searchsorted(window, near)))
        taken = window[:count]
        self._is_free[taken] = False
        self.free -= count
        return taken

    def give_back(self, slots: Sequence[int]) -> None:
        """Free slots that nobody sees any more."""
        if slots:
            self._is_free[list(slots)] = True
            self.free += len(slots)

    def open_row(self) -> int:
        """A row of `visible` that sees nothing yet. Raises PoolFull."""
        if not self._rows:
            raise PoolFull
        return self._rows.pop()

    def close_row(self, row: int, low: int, high: int) -> None:
        """Give a row back that saw nothing but slots from `low` to `high`."""
        self.visible[row, low:high] = False
        self._rows.append(row)


def _zeros(shape: tuple[int, int, int], like: torch.Tensor) -> torch.Tensor:
    """Zeros, not garbage: a masked slot still takes part in the sums, with weight 0.

    On a CPU the system gives the memory page by page, as slots are first written; torch would touch all.
    """
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    memory = np.zeros(math.prod(shape) * like.element_size(), np.uint8)
    return torch.from_numpy(memory).view(like.dtype).view(shape)  # pyright: ignore[reportUnknownMemberType]
