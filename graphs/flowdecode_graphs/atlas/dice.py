"""Random draws that are the same on every machine, in every process and every Python version."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Dice"]

T = TypeVar("T")

_MASK = (1 << 64) - 1


class Dice:
    """SplitMix64 (Steele, Lea and Flood, 2014): the standard library keeps only `random()` the same."""

    def __init__(self, *seed: str | int) -> None:
        """Other seeds, other draws: `Dice("train", 1)`."""
        text = "/".join(map(str, seed)).encode()
        self._state = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return (mixed ^ (mixed >> 31)) % limit

    def between(self, first: int, last: int) -> int:
        """A whole number from `first` to `last`, both included."""
        return first + self.below(last - first + 1)

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> tuple[T, ...]:
        """`count` different items, in random order. Raises ValueError where there are fewer."""
        if count > len(items):
            raise ValueError(f"Expected at least {count} items to draw from, got {len(items)}.")
        left = list(items)
        return tuple(left.pop(self.below(len(left))) for _ in range(count))

    def spread(self, items: Sequence[T], count: int) -> tuple[T, ...]:
        """`count` items, each about equally often, in random order."""
        rounds = -(-count // len(items))
        return self.sample(tuple(items) * rounds, rounds * len(items))[:count]
