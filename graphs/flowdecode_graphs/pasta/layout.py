"""Who sees whom, and at which position: mask, positions and targets of an annotated answer's tokens.

The interpreter's threads decode under these, and a model is trained under them. `shared` is the form
of one KV cache: a chunk is hidden from the main thread between its promise and the next sync and from
other chunks, and positions behind a promise skip the promised length (arXiv 2502.11517). `causal` is
what re-prompting sends: every thread is a plain causal sequence, and behind a sync the finished chunks
are repeated in the order of their promises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from flowdecode_graphs.pasta.document import Chunk, Document
from flowdecode_graphs.pasta.language import ASYNC, END, SYNC

__all__ = ["Form", "Layout", "Promised", "Said", "Waited", "lay_out", "tokenized"]

Form = Literal["shared", "causal"]


class Said(NamedTuple):
    """Tokens of the main thread; the prompt, where there is one, is its beginning."""

    tokens: Sequence[int]


class Promised(NamedTuple):
    """A promise, and its chunk."""

    promise: Sequence[int]
    """The tag's tokens, which are the main thread's."""
    chunk: Sequence[int]
    """From `<async>` to what ended the chunk, both included."""
    length: int
    """What was promised: the positions that the main thread leaves to the chunk."""


class Waited(NamedTuple):
    """A sync: what follows its last token sees the chunks so far."""

    tokens: Sequence[int]


class Layout(NamedTuple):
    """One sequence that holds all threads."""

    tokens: list[int]
    positions: list[int]
    seen: list[tuple[range, ...]]
    """By token, the indices that it attends to, in ascending order: itself the last, none behind it."""
    targets: list[int | None]
    """By token, the index of the token that it predicts; None: its loss counts nothing."""
    weighted: list[bool]
    """By token, whether `--main-weight` applies: the main thread's own, and of each chunk the first one
    behind `<async>`."""

    def mask(self) -> list[list[bool]]:
        """Whether a token (row) attends to another (column), `[tokens, tokens]`."""
        mask: list[list[bool]] = []
        for ranges in self.seen:
            row = [False] * len(self.tokens)
            for indices in ranges:
                row[indices.start : indices.stop] = [True] * len(indices)
            mask.append(row)
        return mask


def tokenized(document: Document, encode: Callable[[str], Sequence[int]]) -> list[Said | Promised | Waited]:
    """A document's parts as tokens. Tags are encoded apart, so that their borders are borders of tokens."""
    parts: list[Said | Promised | Waited] = []
    for part in document.parts:
        if isinstance(part, str):
            parts.append(Said(encode(part)))
        elif isinstance(part, Chunk):
            chunk = [*encode(ASYNC), *encode(part.text), *encode(END)]
            parts.append(Promised(encode(document.promise(part)), chunk, part.tokens))
        else:
            parts.append(Waited(encode(SYNC)))
    return parts


def lay_out(parts: Iterable[Said | Promised | Waited], form: Form = "shared") -> Layout:
    """The tokens of `parts` with mask, positions and targets.

    A promise's last token predicts the main thread's next one, `<async>` predicts its chunk, whose
    last token predicts nothing. In the `shared` form a sync's last token is the first that sees the
    chunks; in the `causal` form they are repeated behind it, and the last of them predicts what follows.
    """
    layout = Layout([], [], [], [], [])
    main = _Thread(layout, main=True)
    outstanding: list[tuple[Sequence[int], _Thread]] = []
    for part in parts:
        if isinstance(part, Said):
            main.say(part.tokens)
        elif isinstance(part, Promised):
            main.say(part.promise)
            thread = main.fork()
            thread.say(part.chunk)
            if len(part.chunk) > 1:  # `<async>` is one token
                layout.weighted[thread.own[0].start + 1] = True
            outstanding.append((part.chunk, thread))
            if form == "shared":
                main.position += part.length
        else:
            main.say(part.tokens[:-1])
            if form == "shared":
                for _, thread in outstanding:
                    main.see(thread.own)
                main.say(part.tokens[-1:])
            else:
                main.say(part.tokens[-1:])
                for chunk, _ in outstanding:
                    main.read(chunk)
            outstanding.clear()
    return layout


class _Thread:
    """A line of tokens within a layout."""

    def __init__(
        self, layout: Layout, position: int = 0, sees: Sequence[range] = (), *, main: bool = False
    ) -> None:
        self.position = position
        """Of its next token."""
        self.own: list[range] = []
        """The indices of its own tokens."""
        self._layout = layout
        self._main = main
        self._sees = list(sees)
        self._last: int | None = None
        """The token that predicts its next one."""

    def fork(self) -> _Thread:
        """A thread that goes on behind this one, as far as it has come."""
        return _Thread(self._layout, self.position, self._sees)

    def see(self, indices: Iterable[range]) -> None:
        """From its next token on, see other tokens too, all of them before it in the sequence."""
        for added in indices:
            self._sees.append(added)
        self._sees.sort(key=lambda indices: indices.start)

    def say(self, tokens: Sequence[int]) -> None:
        """Add tokens, each predicted by the one before it."""
        first = len(self._layout.tokens)
        for index in range(first, first + len(tokens)):
            if self._last is not None:
                self._layout.targets[self._last] = index
            self._add(tokens[index - first], first, said=True)
            self._last = index
        self._added(first, len(tokens))

    def read(self, tokens: Sequence[int]) -> None:
        """Add tokens that it is given: they are not predicted, and the last one predicts what follows."""
        first = len(self._layout.tokens)
        for token in tokens:
            self._add(token, first, said=False)
        if tokens:
            self._last = len(self._layout.tokens) - 1
        self._added(first, len(tokens))

    def _add(self, token: int, first: int, *, said: bool) -> None:
        """One token, which sees those from index `first` on beside all that the thread saw before."""
        layout = self._layout
        layout.seen.append((*self._sees, range(first, len(layout.tokens) + 1)))
        layout.tokens.append(token)
        layout.positions.append(self.position)
        layout.targets.append(None)
        layout.weighted.append(self._main and said)
        self.position += 1

    def _added(self, first: int, count: int) -> None:
        if count:
            self._sees.append(range(first, first + count))
            self.own.append(range(first, first + count))
