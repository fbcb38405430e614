"""Which examples share a batch: those of similar lengths, so that little of it is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

__all__ = ["ByLength"]

_SHUFFLED = 50
"""Batches that are cut out of examples sorted by length at a time: what differs from epoch to epoch."""


class ByLength(Sampler[int]):
    """Indices of examples in an order whose every `batch` are about equally long; the batches are shuffled.

    An epoch's order follows from the seed and the epoch alone, so that training can go on within one.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths = np.array(lengths)
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """What the trainer calls before each."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self._seed, self._epoch))
        order = random.permutation(len(self._lengths))
        batches: list[list[int]] = []
        for start in range(0, len(order), self._batch * _SHUFFLED):
            group = order[start : start + self._batch * _SHUFFLED]
            group = group[np.argsort(self._lengths[group], kind="stable")]
            batches += [group[at : at + self._batch].tolist() for at in range(0, len(group), self._batch)]
        whole = [batch for batch in batches if len(batch) == self._batch]
        short = [batch for batch in batches if len(batch) < self._batch]  # the last one: batches stay aligned
        for number in random.permutation(len(whole)):
            yield from whole[number]
        for batch in short:
            yield from batch
