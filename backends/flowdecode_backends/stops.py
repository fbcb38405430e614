"""Stop strings in text that comes in pieces, for engines that are reached as text."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopStrings"]


class StopStrings:
    """Lets text through up to the first stop string; what may be the beginning of one waits."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.stopped = False
        """Whether a stop string has come; what is fed behind it is dropped."""
        self._stop = tuple(stop)
        self._held: str = ""

    def feed(self, text: str) -> str:
        """What is certain with some more text."""
        if not self._stop:
            return text
        if self.stopped:
            return ""
        text = self._held + text
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)]
        certain = len(text) - max(_overlap(text, stop) for stop in self._stop)
        self._held = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """What still waits, at the end of the text."""
        held = self._held
        self._held = ""
        return held


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a beginning of `stop`, but not all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
