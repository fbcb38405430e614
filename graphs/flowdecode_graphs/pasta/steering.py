"""What makes threads of strands: a fork at a promise and a join at a sync, in the engine's own step."""

from __future__ import annotations

from flowdecode.backend import Steer, Strand
from flowdecode.thought import ThoughtFilter
from flowdecode_graphs.pasta.language import TagReader

__all__ = ["Steering"]


class Steering:
    """Acts on the tags of one answer, in the engine's thread; the interpreter reads the same tags later.

    The positions that a promise leaves to its chunk are what `layout.lay_out` has for them.
    """

    def __init__(self, opening: int, *, most_chunks: int, chunk_tokens: int) -> None:
        """`opening` is the id of `<async>`, with which a chunk's strand begins."""
        self.most_tokens: int | None = None
        """The most tokens of all strands together; set before the first token."""
        self.cut: set[int] = set()
        """The strands that ended because these were spent."""
        self._opening = opening
        self._most_chunks = most_chunks
        self._chunk_tokens = chunk_tokens
        self._strands: list[Strand] = []
        self._outstanding: list[Strand] = []
        self._waits = False
        self._reader = TagReader()
        self._thought = ThoughtFilter()

    def main(self, strand: Strand, token: int) -> None:
        """The main thread has said one token more."""
        if not self._strands:
            self._strands.append(strand)
        if self._limit(strand):
            return
        forked = False
        for event in self._reader.feed(self._thought.feed(strand.delta.text)):
            if isinstance(event, str):
                continue
            if event.kind == "promise" and len(self._strands) <= self._most_chunks:
                if self._limit(strand, coming=1):
                    return
                chunk = strand.fork([self._opening], steer=self._chunk(), max_tokens=self._chunk_tokens)
                strand.skip(event.tokens)
                self._strands.append(chunk)
                self._outstanding.append(chunk)
                forked = True
            elif event.kind == "sync" and self._outstanding:
                self._waits = True
        if self._waits and not forked:  # a fork needs its token's step first
            strand.join(*self._outstanding)
            self._outstanding.clear()
            self._waits = False

    def _chunk(self) -> Steer:
        """Ends a chunk's strand at `</async>`."""
        reader, thought = TagReader(), ThoughtFilter()

        def steer(strand: Strand, token: int) -> None:
            events = list(reader.feed(thought.feed(strand.delta.text)))
            if any(not isinstance(event, str) and event.kind == "end" for event in events):
                strand.end()
            else:
                self._limit(strand)

        return steer

    def _limit(self, strand: Strand, *, coming: int = 0) -> bool:
        """End a strand where every other one's next token would be one too many; whether it ends.

        `coming` strands are about to be forked.
        """
        if self.most_tokens is None:
            return False
        decoded = sum(len(other.tokens) for other in self._strands)
        others = sum(other.finish_reason is None for other in self._strands if other is not strand)
        if decoded + others + coming < self.most_tokens:
            return False
        self.cut.add(strand.id)
        strand.end()
        return True
