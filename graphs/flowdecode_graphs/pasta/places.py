"""Places in the answer into which the runtime writes what threads say, and from which no tag gets out."""

from __future__ import annotations

from collections.abc import Callable

from flowdecode.answer import Answer, Slot
from flowdecode_graphs.pasta.language import END, TagReader

__all__ = ["ChunkPlace", "MainPlace"]


class MainPlace(Slot):
    """The main thread's: its text is kept for the interpreter, as it goes to several places."""

    def __init__(self, answer: Answer, unread: list[str], ended: Callable[[], None]) -> None:
        super().__init__(answer, "")
        self._unread = unread
        self._ended = ended

    def write(self, text: str) -> None:
        if text:
            self._unread.append(text)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._ended()


class ChunkPlace(Slot):
    """A chunk's: its text up to `</async>`, without the tags that a chunk can't have."""

    def __init__(self, answer: Answer, remark: Callable[[str | None], None]) -> None:
        super().__init__(answer, "")
        self._place = answer.open()
        self._remark = remark
        self._reader = TagReader()

    def write(self, text: str) -> None:
        for event in self._reader.feed(text):
            if self.closed:
                return
            if isinstance(event, str):
                self._place.write(event)
            elif event.kind == "end":
                self.close()
            elif event.kind == "unclosed":
                self._remark(event.problem)
            else:
                self._remark(
                    f"Dropped {event.source} of a chunk: expected {END} before it, chunks do not nest"
                )

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            for event in self._reader.finish():
                if isinstance(event, str):
                    self._place.write(event)
                else:
                    self._remark(event.problem)
            self._place.close()
