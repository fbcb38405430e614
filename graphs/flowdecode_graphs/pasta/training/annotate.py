"""A model annotates plain answers in PASTA-LANG; what it may change of them is nothing but whitespace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

import flowdecode
from flowdecode.context import Message
from flowdecode.errors import ConfigurationError, ContextTooLong, PlanSyntaxError, RequestRejected
from flowdecode.flow import Flow
from flowdecode.template import fill_template
from flowdecode_graphs.evaluation.workers import work_off
from flowdecode_graphs.pasta.document import Chunk, Document, Sync, problems
from flowdecode_graphs.pasta.training.lengths import with_lengths
from flowdecode_graphs.pasta.training.rows import Example, append_example, mend, read_examples

__all__ = ["PROMPT", "RETRY", "Annotator", "Dropped", "Unusable", "dropped_path", "read_annotated"]

PROMPT = """\
Mark in an answer which parts could be written at the same time by different writers. Copy the answer \
character for character, with its line breaks, and insert nothing but these tags:

<promise topic="..." tokens="10"/><async>...</async>
  around a part that another writer could write on their own. They know the question and all that stands \
before the promise outside of <async> and </async>, plus what <async> parts before an earlier <sync/> say. \
They do not know the other <async> parts. The topic tells them, in two to six words, what their part is \
about. Always write tokens="10": the lengths are filled in later.
<sync/>
  before text that rests on <async> parts: a conclusion, a comparison, a sum, a step that uses a result.

Rules:
- An <async> part is at least one long sentence; better a paragraph, or all that stands under a heading.
- Headings, numbers of list items and introductions stay outside, before the promise.
- <async> parts contain no tags. A <sync/> needs a promise between it and the one before it. The end of the \
answer needs none.
- Where each sentence needs the one before it, or the answer is short, insert nothing: copy it.
- Reply with the answer alone: no remarks, no quotation marks or fences around it.

Question:
How do bees and ants differ as pets, and which should a child have?

Answer:
Both are fascinating.

**Bees** need a hive in the open air, a suit and a smoker. They look after themselves for weeks, but a swarm \
can leave, and neighbours may object.

**Ants** live in a glass nest on a shelf. They eat sugar water and insects, and one can watch the queen, the \
brood and the roads between the chambers.

For a child, ants are the better choice: they need little, and they don't sting.

Annotated answer:
Both are fascinating.

**Bees** <promise topic="keeping bees" tokens="10"/><async>need a hive in the open air, a suit and a \
smoker. They look after themselves for weeks, but a swarm can leave, and neighbours may object.</async>

**Ants** <promise topic="keeping ants" tokens="10"/><async>live in a glass nest on a shelf. They eat sugar \
water and insects, and one can watch the queen, the brood and the roads between the chambers.</async>

<sync/>For a child, ants are the better choice: they need little, and they don't sting.

Question:
Give me three ways to save water at home.

Answer:
1. Repair what drips: a tap that loses a drop a second wastes thousands of litres a year, and a new seal \
costs next to nothing.
2. Shower briefly, and turn the water off while you soap; a bath takes three times as much as a short shower.
3. Collect rain in a barrel under the gutter, and water the garden with it in the evening, when less of it \
dries up.

Annotated answer:
1. <promise topic="repair leaks" tokens="10"/><async>Repair what drips: a tap that loses a drop a second \
wastes thousands of litres a year, and a new seal costs next to nothing.</async>
2. <promise topic="short showers" tokens="10"/><async>Shower briefly, and turn the water off while you \
soap; a bath takes three times as much as a short shower.</async>
3. <promise topic="use rain in the garden" tokens="10"/><async>Collect rain in a barrel under the gutter, \
and water the garden with it in the evening, when less of it dries up.</async>

Question:
A train leaves at 9:40 and needs 2 h 35 min. When does it arrive?

Answer:
Two hours after 9:40 it is 11:40. Another 35 minutes later it is 12:15. The train arrives at 12:15.

Annotated answer:
Two hours after 9:40 it is 11:40. Another 35 minutes later it is 12:15. The train arrives at 12:15.

Question:
{prompt}

Answer:
{answer}

Annotated answer:
"""

RETRY = """\
This can't be used. {reason}
Write the whole annotated answer again: the same text, character for character, with right tags."""

MARGIN = 256
"""Tokens that tags may take beside twice those of the answer."""
REFUSED = "refused by the engine"


class Unusable(Exception):
    """What a model wrote is no annotation of the answer; its text is what to tell the model."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        """In a few words, to be counted."""


class Dropped(msgspec.Struct, frozen=True):
    """An answer that could not be annotated."""

    prompt: str
    answer: str
    kind: str
    reason: str
    system: str | None = None


class _Key(NamedTuple):
    system: str | None
    prompt: str
    answer: str


def read_annotated(written: str, answer: str) -> Document:
    """What a model made of an answer. Raises Unusable with what is wrong.

    Whitespace around the whole is passed over. Where the texts differ in other whitespace, the answer's
    own is restored, and what stands at a chunk's border goes to the main thread. Lengths are not looked at.
    """
    try:
        document = Document.parse(written.strip(), exact=True)
    except PlanSyntaxError as error:
        raise Unusable("ill-formed", str(error)) from None
    if document.text == answer:
        return document
    ours, theirs = "".join(answer.split()), "".join(document.text.split())
    if ours == theirs:
        return _with_whitespace(document, answer)
    at = next(
        (at for at, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other),
        min(len(ours), len(theirs)),
    )
    begin = max(0, at - 10)
    raise Unusable(
        "text changed",
        f"Expected the answer's own text, which has {ours[begin : at + 20]!r} "
        f"(without spaces) where you wrote {theirs[begin : at + 20]!r}.",
    )


def dropped_path(out: Path) -> Path:
    """Where answers go that could not be annotated; without this file they are tried again."""
    return out.with_name(f"{out.stem}.dropped.jsonl")


class Annotator:
    """Annotates what is not in `out` yet, several answers at once; each is written when it is there.

    `count` counts tokens as the model to be trained does. `done` is called behind every answer.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        out: Path,
        url: str | None,
        count: Callable[[str], int],
        *,
        concurrency: int = 8,
        attempts: int = 3,
        connect: Callable[[str | None], Flow] = flowdecode.connect,
        done: Callable[[], object] = lambda: None,
    ) -> None:
        self.annotated = 0
        """In `out`, those of earlier runs included."""
        self.dropped: Counter[str] = Counter()
        """What could not be annotated, by its kind."""
        self._out = out
        self._url = url
        self._count = count
        self._concurrency = concurrency
        self._attempts = attempts
        self._connect = connect
        self._done = done
        wanted = {_Key(example.system, example.prompt, example.answer): example for example in examples}
        settled = self._settled()
        self.pending = [example for key, example in wanted.items() if key not in settled]
        """What is left to do; an answer that comes twice is annotated once."""

    async def run(self) -> None:
        """Annotate what is pending. Raises FlowdecodeError where the engine fails; what is done is kept."""
        if not self.pending:
            return
        async with self._connect(self._url) as flow:
            await work_off(self.pending, lambda each: self._annotate(flow, each), workers=self._concurrency)

    async def _annotate(self, flow: Flow, example: Example) -> None:
        try:
            annotated = await self._ask(flow, example)
        except Unusable as error:
            self._drop(example, error)
        else:
            append_example(self._out, msgspec.structs.replace(example, answer=annotated))
            self.annotated += 1
        self._done()

    async def _ask(self, flow: Flow, example: Example) -> str:
        """What the model makes of it, asked again with the reason where that is no annotation."""
        if not example.answer.strip():
            raise Unusable("empty", "Expected an answer, got nothing.")
        if problems(example.answer) or Document.parse(example.answer).parts != (example.answer,):
            raise Unusable("has a tag", "Expected a plain answer, got one with tags of PASTA-LANG in it.")
        asked = fill_template(PROMPT, prompt=example.prompt, answer=example.answer)
        messages: list[Message] = [{"role": "user", "content": asked}]
        most = 2 * self._count(example.answer) + MARGIN
        while True:
            written = await self._say(flow, messages, most)
            try:
                return self._read(written, example.answer)
            except Unusable as error:
                if len(messages) >= 2 * self._attempts - 1:
                    raise
                messages.append({"role": "assistant", "content": written})
                messages.append({"role": "user", "content": fill_template(RETRY, reason=str(error))})

    def _read(self, written: str, answer: str) -> str:
        """The annotated answer with its lengths. Raises Unusable."""
        document = with_lengths(read_annotated(written, answer), self._count)
        try:
            return str(document)
        except ValueError as error:  # a tag is too long with its length
            raise Unusable("ill-formed", str(error)) from None

    async def _say(self, flow: Flow, messages: list[Message], most: int) -> str:
        try:
            result = await flow.run(
                messages, strategy="sequential", temperature=0, max_tokens=most, on_error="raise"
            )
        except ContextTooLong as error:
            raise Unusable("too long for the engine", str(error)) from error
        except RequestRejected as error:
            raise Unusable(REFUSED, str(error)) from error
        return result.text

    def _drop(self, example: Example, error: Unusable) -> None:
        self.dropped[error.kind] += 1
        if error.kind == REFUSED:  # the engine's fault, not the answer's: the next run tries again
            return
        dropped = Dropped(example.prompt, example.answer, error.kind, str(error), example.system)
        path = dropped_path(self._out)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(msgspec.json.encode(dropped) + b"\n")

    def _settled(self) -> set[_Key]:
        """What earlier runs have annotated or dropped."""
        settled: set[_Key] = set()
        mend(self._out)
        if self._out.exists():
            for row in read_examples(self._out):
                settled.add(_Key(row.system, row.prompt, Document.parse(row.answer).text))
                self.annotated += 1
        path = dropped_path(self._out)
        mend(path)
        if path.exists():
            for line in filter(bytes.strip, path.read_bytes().splitlines()):
                try:
                    dropped = msgspec.json.decode(line, type=Dropped)
                except (msgspec.DecodeError, UnicodeError) as error:
                    raise ConfigurationError(
                        f"Expected answers that could not be annotated, got others: {error} - in {path}."
                    ) from None
                settled.add(_Key(dropped.system, dropped.prompt, dropped.answer))
                self.dropped[dropped.kind] += 1
        return settled


def _with_whitespace(document: Document, answer: str) -> Document:
    """The document with the answer's text, from which its own differs in whitespace alone."""
    parts: list[str | Chunk | Sync] = []
    start = 0
    for part in document.parts:
        if isinstance(part, Sync):
            parts.append(part)
            continue
        end = start
        for _ in range(len("".join((part if isinstance(part, str) else part.text).split()))):
            while answer[end].isspace():
                end += 1
            end += 1
        text = answer[start:end]
        if isinstance(part, Chunk):
            body = text.lstrip()
            parts += [text[: len(text) - len(body)], msgspec.structs.replace(part, text=body)]
        else:
            parts.append(text)
        start = end
    return Document.of([*parts, answer[start:]], exact=document.exact)
