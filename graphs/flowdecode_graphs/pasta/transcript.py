"""What the threads of a run decoded, tags and all, in the order of the document."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from flowdecode.result import NodeRecord, Result
from flowdecode_graphs.pasta.document import problems
from flowdecode_graphs.pasta.language import ASYNC, END, TagReader
from flowdecode_graphs.pasta.layout import Form, Promised, Said, Waited

__all__ = ["Spoken", "Stretch", "Transcript", "transcript"]


class Spoken(NamedTuple):
    """What a chunk's thread decoded behind `<async>`."""

    text: str
    end: str
    """Its `</async>`, as it was written; empty where it came to none."""
    ended: bool
    """Whether the thread ended by itself, and not by a limit."""


class Stretch(NamedTuple):
    """A stretch of the main thread: text, a promise with its chunk, or a sync that waited."""

    source: str
    length: int = 0
    """The tokens that a promise gives its chunk."""
    chunk: Spoken | None = None
    waited: bool = False


class Transcript(msgspec.Struct, frozen=True):
    """An answer as it was decoded: of a well-formed one the document, of a broken one the same tokens."""

    stretches: tuple[Stretch, ...]
    ended: bool
    """Whether the main thread ended by itself, and not by a limit."""
    clean: bool
    """Whether the run came to its end without a repaired tag, a fallback or a thread that was cut off."""

    def __str__(self) -> str:
        """The annotated answer."""
        return "".join(
            stretch.source + (f"{ASYNC}{stretch.chunk.text}{stretch.chunk.end}" if stretch.chunk else "")
            for stretch in self.stretches
        )

    @property
    def well_formed(self) -> bool:
        """Whether it is a document of PASTA-LANG, and complete."""
        return self.ended and self.clean and not problems(str(self))

    def tokenized(
        self, encode: Callable[[str], Sequence[int]], turn_end: Sequence[int]
    ) -> list[Said | Promised | Waited]:
        """Its parts as tokens for `layout.lay_out`, tags encoded apart as `layout.tokenized` does it.

        `turn_end` is what a thread says that ends by itself, if not with `</async>`; one that was cut off
        has no end to be learnt.
        """
        parts: list[Said | Promised | Waited] = []
        for stretch in self.stretches:
            source = encode(stretch.source)
            if (chunk := stretch.chunk) is not None:
                end = encode(chunk.end) if chunk.end else turn_end if chunk.ended else ()
                parts.append(Promised(source, [*encode(ASYNC), *encode(chunk.text), *end], stretch.length))
            else:
                parts.append(Waited(source) if stretch.waited else Said(source))
        if self.ended:
            parts.append(Said(turn_end))
        return parts


def transcript(result: Result, form: Form) -> Transcript:
    """Read it from the records of a `pasta` run: over one KV cache (`shared`), or with requests (`causal`).

    An engine ends a request at `</async>` without giving it: a chunk of the form `causal` that ended by
    itself is taken to have ended so. What another strategy answered, after a fallback too, is one text.
    """
    done = result.status == "done"
    plan, records = result.plan, {record.id: record for record in result.nodes}
    if result.strategy != "pasta" or result.fallback_reason is not None or plan is None:
        said = (Stretch(result.text),) if result.text else ()
        return Transcript(said, ended=done, clean=done and result.fallback_reason is None)
    threads = deque(records[str(node.id)] for node in plan.nodes)
    clean = done and all(record.status == "done" for record in threads) and not plan.remarks
    stretches: list[Stretch] = []
    main = threads.popleft()
    while _read(main, threads, stretches, form):
        main = threads.popleft()
    return Transcript(tuple(stretches), ended=main.status == "done", clean=clean)


def _read(main: NodeRecord, threads: deque[NodeRecord], stretches: list[Stretch], form: Form) -> bool:
    """Read a segment of the main thread and its chunks, which come next; whether another segment follows.

    What came behind the sync in the same delta is the next segment's, or was decoded again.
    """
    reader = TagReader()
    said: list[str] = []
    promised = False

    def add(*more: Stretch) -> None:
        if text := "".join(said):
            stretches.append(Stretch(text))
        said.clear()
        stretches.extend(more)

    for event in [*reader.feed(main.text), *reader.finish()]:
        if isinstance(event, str):
            said.append(event)
        elif event.kind == "promise" and threads and threads[0].parents == main.parents:
            promised = True
            add(Stretch(event.source, event.tokens, _spoken(threads.popleft(), form)))
        elif event.kind == "sync" and promised:
            add(Stretch(event.source, waited=True))
            return bool(threads)
        elif event.kind != "unclosed":  # that was given as text
            said.append(event.source)
    add()
    return False


def _spoken(record: NodeRecord, form: Form) -> Spoken:
    reader = TagReader()
    said: list[str] = []
    for event in [*reader.feed(record.text), *reader.finish()]:
        if isinstance(event, str):
            said.append(event)
        elif event.kind == "end":
            return Spoken("".join(said), event.source, ended=True)
        elif event.kind != "unclosed":
            said.append(event.source)
    ended = record.status == "done"
    return Spoken("".join(said), END if ended and form == "causal" else "", ended=ended)
