"""Scripted engines that answer in PASTA-LANG."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from flowdecode.backend import Delta, Request
from flowdecode_backends.scripted import Reply, Scripted, ScriptedDecoding

__all__ = ["CHUNKS", "COFFEE", "MAIN", "PLAIN", "TEA", "Coalescing", "pasta"]

TEA, COFFEE = '<promise topic="tea" tokens="20"/>', '<promise topic="coffee" tokens="30"/>'
MAIN = (f"Two drinks. {TEA} And then {COFFEE}\n<sync/>", "So drink tea.")
CHUNKS = ("Tea is mild.", "Coffee is strong and black.")
PLAIN = "Two drinks. Tea is mild. And then Coffee is strong and black.\nSo drink tea."

_CHUNKS = re.compile("^(?:<async>.*?</async>)+", re.DOTALL)


def pasta(
    main: Sequence[str | Reply] = MAIN,
    chunks: Sequence[str | Reply] = CHUNKS,
    *,
    rest: str = "",
    pace: float | None = 0.0,
) -> Callable[[Request], Reply]:
    """A model with these parts of its main thread and these chunks; `rest` goes on with a plain answer.

    It says what belongs behind the context that it is given: a chunk behind `<async>`, else the main
    thread, of which a request may have a part already.
    """

    def reply(request: Request) -> Reply:
        message = request.context.messages()[-1]
        said = message["content"] if message["role"] == "assistant" else ""
        if said and "<" not in said:
            return Reply(said + rest, pace=pace)
        promises, tail = 0, said
        for found in main:
            part = found if isinstance(found, Reply) else Reply(found, pace=pace)
            if not tail.startswith(part.text) or (not tail and said):
                break
            promises += part.text.count("<promise")
            tail = _CHUNKS.sub("", tail[len(part.text) :])
        else:
            part = Reply("")
        if not part.text.startswith(tail):
            begun = tail.rfind("<async>") + len("<async>")
            promises += tail[:begun].count("<promise")
            found, tail = chunks[promises - 1], tail[begun:]
            part = found if isinstance(found, Reply) else Reply(found, pace=pace)
            part = msgspec.structs.replace(part, text=f"{part.text}</async>")
        return msgspec.structs.replace(part, text=said[: len(said) - len(tail)] + part.text)

    return reply


class Coalescing(Scripted):
    """An engine whose deltas are of several tokens."""

    size = 1

    def decode(self, request: Request) -> ScriptedDecoding:
        decoding = _Coalesced(self, request)
        decoding.size = self.size
        return decoding


class _Coalesced(ScriptedDecoding):
    size: int

    async def __anext__(self) -> Delta:
        delta = await super().__anext__()
        for _ in range(self.size - 1):
            try:
                more = await super().__anext__()
            except StopAsyncIteration:
                break
            delta = Delta(delta.text + more.text, delta.tokens + more.tokens)
        return delta
