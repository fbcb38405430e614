"""The pool: slots that hold one token's keys and values each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Pool", "PoolFull", "Slots"]

Slots = npt.NDArray[np.int64]
"""Numbers of slots."""

_NEAR = 4096


class PoolFull(Exception):
    """Not enough free slots for what is to be fed, or too many threads."""


class Pool:
    """KV slots shared by all threads. The tensors of a layer are made when it first writes.

    `keys[layer]` and `values[layer]` are `[heads, slots, dimension]`. A slot's content never moves, and
    who sees it is up to the threads. Bookkeeping is kept on the CPU.
    """

    def __init__(self, slots: int, threads: int) -> None:
        self.slots = slots
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}
        self.positions: Slots = np.zeros(slots, np.int64)
        """The position of each slot's token in its conversation."""
        self.free = slots
        """Slots that nobody holds."""
        self.free_threads = threads
        """Threads that can still be opened."""
        self._is_free: npt.NDArray[np.bool_] = np.ones(slots, np.bool_)
        self._is_claimed: npt.NDArray[np.bool_] = np.zeros(slots, np.bool_)
        self._frontier = 0

    @property
    def bytes_per_slot(self) -> int:
        """Bytes of one token over all layers that have written."""
        tensors = (*self.keys.values(), *self.values.values())
        return sum(tensor[:, 0].nbytes for tensor in tensors)

    def write(
        self, layer: int, slots: slice | torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> None:
        """Store the `keys` and `values`, `[heads, tokens, dimension]`, of new tokens."""
        if layer not in self.keys:
            for store, new in ((self.keys, keys), (self.values, values)):
                store[layer] = _zeros((new.shape[0], self.slots, new.shape[2]), new)
        if isinstance(slots, slice):
            self.keys[layer][:, slots] = keys
            self.values[layer][:, slots] = values
        else:
            self.keys[layer].index_copy_(1, slots, keys)
            self.values[layer].index_copy_(1, slots, values)

    def take_run(self, start: int, count: int) -> bool:
        """Take the slots from `start` on; False, and none is taken, where one of them is held."""
        run = self._is_free[start : start + count]
        if not (run[0] if count == 1 else run.all()):
            return False
        run[:] = False
        self.free -= count
        return True

    def take_any(self, count: int) -> Slots:
        """Take slots wherever they are, unclaimed ones first. Raises PoolFull, and takes none then."""
        if count > self.free:
            raise PoolFull
        found = np.flatnonzero(self._is_free & ~self._is_claimed)
        if len(found) < count:
            found = np.flatnonzero(self._is_free)
        taken = found[:count]
        self._is_free[taken] = False
        self.free -= count
        return taken

    def claim(self, count: int, near: int) -> int | None:
        """Claim a run of free slots, at `near` or behind the last claim if it can be; None if there is none.

        What a thread says next is to lie behind what it said before: such slots are read without
        copying. A claim is no promise, where slots run short others take them.
        """
        if count > self.free:
            return None
        for start in (near, self._frontier):
            found = self._run(start, min(start + count + _NEAR, self.slots), count)
            if found is not None:
                break
        else:
            found = self._run(0, self.slots, count)
        if found is not None:
            self._is_claimed[found : found + count] = True
            self._frontier = found + count
        return found

    def unclaim(self, start: int, end: int) -> None:
        """Give up the rest of a claim."""
        self._is_claimed[start:end] = False

    def give_back(self, slots: Sequence[int]) -> None:
        """Free slots that nobody sees any more."""
        if slots:
            self._is_free[list(slots)] = True
            self.free += len(slots)

    def open_thread(self) -> None:
        """Count a thread. Raises PoolFull."""
        if not self.free_threads:
            raise PoolFull
        self.free_threads -= 1

    def close_thread(self) -> None:
        """Count a thread less."""
        self.free_threads += 1

    def _run(self, start: int, end: int, count: int) -> int | None:
        """The first `count` slots within a range that follow each other and are free and not claimed."""
        if end - start < count:
            return None
        busy = np.flatnonzero(~self._is_free[start:end] | self._is_claimed[start:end])
        borders = np.concatenate(([-1], busy, [end - start]))
        wide = np.flatnonzero(np.diff(borders) > count)
        return start + int(borders[wide[0]]) + 1 if len(wide) else None


def _zeros(shape: tuple[int, int, int], like: torch.Tensor) -> torch.Tensor:
    """Zeros, not garbage: a masked slot still takes part in the sums, with weight 0.

    On a CPU the system gives the memory page by page, as slots are first written; torch would touch all.
    """
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    memory = np.zeros(math.prod(shape) * like.element_size(), np.uint8)
    return torch.from_numpy(memory).view(like.dtype).view(shape)  # pyright: ignore[reportUnknownMemberType]
