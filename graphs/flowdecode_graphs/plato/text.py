"""The planner's own words, cut at the ends of its lines, with the tokens that it sampled."""

from __future__ import annotations

from flowdecode.backend import Delta
from flowdecode.context import Block

__all__ = ["PlanText"]


class PlanText:
    """What has come of a plan, and how much of it has been made into blocks."""

    def __init__(self) -> None:
        self._deltas: list[Delta] = []

    def add(self, delta: Delta) -> None:
        """More of the plan has come."""
        self._deltas.append(delta)

    def cut(self, length: int) -> list[Block]:
        """The next `length` characters as assistant blocks.

        Whole tokens keep their ids; of a delta that the cut goes through, only the text is kept.
        """
        whole: list[Delta] = []
        while length and len(self._deltas[0].text) <= length:
            length -= len(self._deltas[0].text)
            whole.append(self._deltas.pop(0))
        blocks: list[Block] = []
        if whole:
            ids = tuple(token for delta in whole for token in delta.tokens)
            blocks.append(Block("assistant", "".join(delta.text for delta in whole), ids or None))
        if length:
            split = self._deltas[0]
            blocks.append(Block("assistant", split.text[:length]))
            self._deltas[0] = Delta(split.text[length:])
        return blocks
