"""A reasoning model's `<think> ... </think>`: told apart from its answer while it streams."""

from __future__ import annotations

__all__ = ["ThoughtFilter"]

_OPEN, _CLOSE = "<think>", "</think>"


class ThoughtFilter:
    """Lets an answer's text through and keeps back the thought that it begins with.

    Only a thought at the very beginning is one; a tag further on is text, as in an answer about tags.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state = "before"

    def feed(self, text: str) -> str:
        """The part of `text`, and of what was kept back, that belongs to the answer."""
        if self._state == "answer":
            return text
        self._held += text
        if self._state == "before":
            begun = self._held.lstrip()
            if begun.startswith(_OPEN):
                self._state, self._held = "thought", begun[len(_OPEN) :]
            elif not _OPEN.startswith(begun):
                self._state = "answer"
                return self._take()
        if self._state == "thought":
            end = self._held.find(_CLOSE)
            if end < 0:
                self._held = self._held[-len(_CLOSE) :]
                return ""
            self._state, self._held = "after", self._held[end + len(_CLOSE) :]
        if self._state == "after" and (begun := self._held.lstrip()):
            self._state, self._held = "answer", begun
            return self._take()
        return ""

    def end(self) -> str:
        """No more text comes: what was kept back and turned out to be no thought."""
        return self._take() if self._state == "before" else ""

    def _take(self) -> str:
        held, self._held = self._held, ""
        return held
