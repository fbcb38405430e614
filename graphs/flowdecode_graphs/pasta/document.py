"""Annotated answers as data: read, checked, written, and what of them could be decoded side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from flowdecode.errors import PlanSyntaxError
from flowdecode.plan import Plan, PlanNode
from flowdecode_graphs.pasta.language import ASYNC, END, SYNC, Tag, TagReader, promise_tag

__all__ = ["MAIN_THREAD", "Chunk", "Document", "Problem", "Sync", "problems", "theoretical_speedup"]

MAIN_THREAD = "Main thread"
"""The title of its parts in a plan."""

Count = Callable[[str], int]
"""Tokens of a text."""


class Chunk(msgspec.Struct, frozen=True):
    """A promise and what it stands for."""

    topic: str
    tokens: int
    """The promised length, in tokens."""
    text: str


class Sync(msgspec.Struct, frozen=True):
    """The main thread waits for all that it was promised."""


class Problem(NamedTuple):
    """Something in an annotated answer that the language does not have."""

    offset: int
    """The character where it begins."""
    message: str


class Document(msgspec.Struct, frozen=True):
    """An annotated answer in the order of reading: the main thread's texts and syncs, and its chunks."""

    parts: tuple[str | Chunk | Sync, ...]
    """No text is empty, and no two of them are neighbours."""
    exact: bool = False
    """Whether lengths need not be multiples of ten: not the language, but to compare with it."""

    @classmethod
    def of(cls, parts: Iterable[str | Chunk | Sync], *, exact: bool = False) -> Document:
        """A document of these parts, with neighbouring texts as one, and no empty ones."""
        found: list[str | Chunk | Sync] = []
        for part in parts:
            if isinstance(part, str) and found and isinstance(found[-1], str):
                found[-1] += part
            elif part != "":
                found.append(part)
        return cls(tuple(found), exact)

    @classmethod
    def parse(cls, text: str, *, exact: bool = False) -> Document:
        """Read an annotated answer; `str` writes it again. Raises PlanSyntaxError with the first problem."""
        reading = _Reading(exact=exact)
        reading.read(text)
        if reading.problems:
            offset, message = reading.problems[0]
            line = text.count("\n", 0, offset) + 1
            column = offset - text.rfind("\n", 0, offset)
            raise PlanSyntaxError(f"{message} - at line {line}, column {column}.")
        return reading.document

    def __str__(self) -> str:
        """The annotated answer. Raises ValueError where a text or a topic can't be written in it."""
        return "".join(self._written(part) for part in self.parts)

    @property
    def text(self) -> str:
        """The plain answer, without tags."""
        return "".join(
            part if isinstance(part, str) else part.text for part in self.parts if not isinstance(part, Sync)
        )

    def plan(self, count: Count) -> Plan:
        """Its graph: the main thread's parts between syncs, and the chunks, with their decoded tokens.

        A chunk can start when its promise is complete; what follows a sync, when all before it is done.
        `work`, `span` and `parallelism` are the plan's. Tags that a thread writes count; `<async>`,
        which it is given, does not.
        """
        nodes: list[PlanNode] = []
        ends: dict[int, int] = {}
        done: tuple[int, ...] = ()
        for parts in self._segments():
            main, start = len(nodes) + 1, max((ends[node] for node in done), default=0)
            nodes.append(PlanNode(id=main, title=MAIN_THREAD, parents=done))
            said = 0
            for part in parts:
                if isinstance(part, Chunk):
                    said += count(self.promise(part))
                    node = PlanNode(
                        id=len(nodes) + 1,
                        title=part.topic,
                        parents=done,
                        expected_tokens=count(part.text) + count(END),
                        offset=start + said,
                    )
                    nodes.append(node)
                    ends[node.id] = node.offset + node.expected_tokens
                else:
                    said += count(self._written(part))
            nodes[main - 1] = msgspec.structs.replace(nodes[main - 1], expected_tokens=said)
            ends[main] = start + said
            done = tuple(range(main, len(nodes) + 1))
        return Plan(tuple(nodes))

    def promise(self, chunk: Chunk) -> str:
        """The tag of a chunk's promise. Raises ValueError where its topic or length can't be written."""
        return promise_tag(chunk.topic, chunk.tokens, exact=self.exact)

    def _written(self, part: str | Chunk | Sync) -> str:
        if isinstance(part, Sync):
            return SYNC
        if isinstance(part, Chunk):
            return f"{self.promise(part)}{ASYNC}{_plain(part.text)}{END}"
        return _plain(part)

    def _segments(self) -> list[list[str | Chunk | Sync]]:
        """The parts, cut behind every sync."""
        segments: list[list[str | Chunk | Sync]] = [[]]
        for part in self.parts:
            segments[-1].append(part)
            if isinstance(part, Sync):
                segments.append([])
        if not segments[-1] and len(segments) > 1:
            segments.pop()
        return segments


def theoretical_speedup(document: Document, count: Count, baseline: int | None = None) -> float:
    """A sequential baseline's tokens over the span; by default the baseline says the same without tags."""
    span = document.plan(count).span
    return (count(document.text) if baseline is None else baseline) / span if span else 1.0


def problems(text: str) -> list[Problem]:
    """All that is wrong with an annotated answer, in the order of reading."""
    reading = _Reading()
    reading.read(text)
    return reading.problems


def _plain(text: str) -> str:
    reader = TagReader()
    found = [event for event in (*reader.feed(text), *reader.finish()) if isinstance(event, Tag)]
    if found:
        raise ValueError(f"Expected a text without PASTA-LANG's tags, got {found[0].source!r}.")
    return text


class _Reading:
    """One pass over an annotated answer: its document, and its problems."""

    def __init__(self, *, exact: bool = False) -> None:
        self.problems: list[Problem] = []
        self._exact = exact
        self._parts: list[str | Chunk | Sync] = []
        self._texts: list[str] = []
        """Texts of the main thread, or of the open chunk, that are not in a part yet."""
        self._offset = 0
        self._promise: tuple[Tag, int] | None = None
        """A promise whose content has to come next."""
        self._open: tuple[Tag | None, int] | None = None
        """The open chunk's promise, and where it began."""
        self._outstanding = 0

    def read(self, text: str) -> None:
        """Read all of it."""
        reader = TagReader(exact=self._exact)
        for event in reader.feed(text):
            self._take(event)
        for event in reader.finish():
            self._take(event)
        self._expect_content()
        if self._open is not None:
            self._report(f"Expected {END}, the chunk is not closed", self._open[1])
            self._close()
        self._flush()
        self.problems.sort()

    @property
    def document(self) -> Document:
        return Document(tuple(self._parts), self._exact)

    def _take(self, event: str | Tag) -> None:
        if isinstance(event, str):
            self._expect_content()
            self._texts.append(event)
            self._offset += len(event)
            return
        if event.kind == "unclosed":
            self._report(event.problem or "", self._offset - len(event.source))
            return
        if event.problem is not None:
            self._report(event.problem)
        if self._promise is not None and event.kind != "async":
            self._expect_content()
        if self._open is not None and event.kind in ("promise", "async", "sync"):
            self._report(f"Expected {END} before {event.source!r:.60}: chunks do not nest")
        elif event.kind == "promise":
            self._promise = event, self._offset
        elif event.kind == "async":
            if self._promise is None:
                self._report(f"Expected a promise before {ASYNC}, got content without one")
            self._flush()
            self._open = self._promise[0] if self._promise else None, self._offset
            self._promise = None
        elif event.kind == "end":
            if self._open is None:
                self._report(f"Expected {ASYNC} before {END}, no chunk is open")
            else:
                self._close()
        elif event.kind == "sync":
            if not self._outstanding:
                self._report(f"Expected a promise before {SYNC}, nothing is outstanding")
            self._flush()
            self._parts.append(Sync())
            self._outstanding = 0
        self._offset += len(event.source)

    def _expect_content(self) -> None:
        if self._promise is not None:
            self._report(f"Expected {ASYNC} behind the promise, got none", self._promise[1])
            self._promise = None

    def _close(self) -> None:
        """The open chunk is complete; one without a promise is the main thread's own text."""
        assert self._open is not None
        promise, text = self._open[0], "".join(self._texts)
        self._open = None
        if promise is not None:
            self._texts.clear()
            self._parts.append(Chunk(promise.topic, promise.tokens, text))
            self._outstanding += 1

    def _flush(self) -> None:
        if text := "".join(self._texts):
            self._parts.append(text)
        self._texts.clear()

    def _report(self, message: str, offset: int | None = None) -> None:
        self.problems.append(Problem(self._offset if offset is None else offset, message))
