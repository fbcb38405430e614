"""A progress that remembers."""

from __future__ import annotations

__all__ = ["Counted"]


class Counted:
    """How much of each stage was to come, and how much was done in all."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended = 0

    def begin(self, total: int) -> None:
        self.begun.append(total)

    def done(self) -> None:
        self.ended += 1
