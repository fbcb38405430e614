"""The answer: an append-only list of slots, emitted in order, each character as early as order allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["Answer", "Slot"]


class Slot:
    """A place in an answer. Text that is written to it waits until every slot before it is closed."""

    def __init__(self, answer: Answer, heading: str) -> None:
        self._answer = answer
        self._heading = heading
        self._held: list[str] = []
        self.closed = False

    def write(self, text: str) -> None:
        """Add text to the slot; a closed slot takes none."""
        if text and not self.closed:
            if self._heading:
                self._held.append(self._heading)
                self._heading = ""
            self._held.append(text)
            self._answer.advance(self)

    def close(self) -> None:
        """Nothing more will be written."""
        self.closed = True
        self._answer.advance(self)

    def take(self) -> str:
        """What was written and not yet taken."""
        text = "".join(self._held)
        self._held.clear()
        return text


class Answer:
    """Slots in order. While it is held, nothing is emitted; what was emitted is never withdrawn."""

    def __init__(self, emit: Callable[[str], None], *, held: bool = False) -> None:
        self._emit = emit
        self._slots: deque[Slot] = deque()
        self._held = held
        self._is_cut = False

    def open(self, heading: str = "") -> Slot:
        """A new slot behind all others; `heading` goes before the first text that is written to it."""
        slot = Slot(self, heading)
        self._slots.append(slot)
        return slot

    def literal(self, text: str) -> None:
        """A slot that holds just `text`."""
        slot = self.open()
        slot.write(text)
        slot.close()

    def release(self) -> None:
        """Emit from now on, and at once what has come so far."""
        self._held = False
        if self._slots:
            self.advance(self._slots[0])

    def cut(self) -> None:
        """Emit nothing more, from slots of any time."""
        self._is_cut = True
        self._slots.clear()

    def advance(self, changed: Slot) -> None:
        """Emit what `changed` makes emittable: its own text if it is first, and on past closed slots."""
        if self._held or self._is_cut:
            return
        while self._slots and self._slots[0] is changed:
            if text := changed.take():
                self._emit(text)
            if not changed.closed:
                return
            self._slots.popleft()
            if self._slots:
                changed = self._slots[0]
