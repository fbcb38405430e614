"""PASTA-LANG's tags, read from a stream that may be cut anywhere, also within a tag.

The language is that of arXiv 2502.11517; `docs/pasta-lang.md` specifies what is read and written here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

__all__ = [
    "ASYNC",
    "DEFAULT_TOKENS",
    "END",
    "LONGEST_TAG",
    "MAX_TOKENS",
    "PROMISE",
    "SYNC",
    "Tag",
    "TagReader",
    "promise_tag",
]

PROMISE, ASYNC, END, SYNC = "<promise", "<async>", "</async>", "<sync/>"
"""What a model has in its vocabulary: the beginning of a promise, and the three other tags."""

DEFAULT_TOKENS = 120
"""The length of a chunk whose promise gives none: a paragraph."""

MAX_TOKENS = 2_000
"""The longest chunk that can be promised."""

LONGEST_TAG = 300
"""A tag has no more characters, its `>` apart; what goes on longer is text."""

Kind = Literal["promise", "async", "end", "sync", "broken", "unclosed"]

_OPENINGS = ("<promise", "</promise", "<async", "</async", "<sync", "</sync")
_BEGINNINGS = {opening[:length] for opening in _OPENINGS for length in range(1, len(opening) + 1)}
_PROMISE = re.compile(
    r'<promise topic="(?P<topic>[^"<>\n]*[^"<>\s][^"<>\n]*)" tokens="(?P<tokens>[1-9][0-9]{0,8})"/>'
)
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'/>]+))""")
_BOUND = re.compile(r"[<>\n]")


class Tag(NamedTuple):
    """One tag, with what is wrong with it."""

    kind: Kind
    """`broken`: none of the four; `unclosed`: it didn't end on its line, so that it was given as text."""
    source: str
    """As it was written."""
    topic: str = ""
    """What a promise's chunk is about."""
    tokens: int = 0
    """A promise's length: its chunk's tokens with both tags of the chunk, written as a multiple of ten."""
    problem: str | None = None
    """What was expected, where it is not written as the specification has it."""


def promise_tag(topic: str, tokens: int, *, exact: bool = False) -> str:
    """A promise as text. Raises ValueError where a `TagReader` would not read it again as the same."""
    text = f'<promise topic="{topic}" tokens="{tokens}"/>'
    reader = TagReader(exact=exact)
    if [*reader.feed(text), *reader.finish()] != [Tag("promise", text, topic, tokens)]:
        raise ValueError(
            "Expected a topic of one line without quotes and angle brackets, with its tag at most "
            f"{LONGEST_TAG} characters, and a multiple of ten from 10 to {MAX_TOKENS:,} tokens, "
            f"got {_short(text)}."
        )
    return text


class TagReader:
    """Tells tags from text. Every character is looked at once, and comes out as soon as it is certain."""

    def __init__(self, *, exact: bool = False) -> None:
        """With `exact`, lengths need not be multiples of ten: not the language, but to compare with it."""
        self.left = 0
        """While `feed` is iterated: the characters behind what it has given last."""
        self._exact = exact
        self._held: list[str] = []
        """What may be the beginning of a tag."""
        self._length = 0
        self._inside = False
        """Whether the held text is a tag's name and more."""

    def feed(self, text: str) -> Iterator[str | Tag]:
        """Texts and tags in turn. What is not iterated to its end has not been read."""
        position, size = 0, len(text)
        while position < size:
            if self._inside:
                end = min(size, position + LONGEST_TAG + 1 - self._length)
                found = _BOUND.search(text, position, end)
                end = end if found is None else found.start()
                self._hold(text[position:end])
                position = end
                if found is not None and found[0] == ">":
                    position += 1
                    self.left = size - position
                    yield _read(self._take() + ">", self._exact)
                elif found is not None or self._length > LONGEST_TAG:
                    self.left = size - position
                    yield from self._given_up()
            elif self._held:
                name = "".join(self._held)
                if name in _OPENINGS and text[position] in " \t/>":
                    self._inside = True
                elif name + text[position] in _BEGINNINGS:
                    self._hold(text[position])
                    position += 1
                else:
                    self.left = size - position
                    yield self._take()
            else:
                at = text.find("<", position)
                end = size if at < 0 else at
                if end > position:
                    self.left = size - end
                    yield text[position:end]
                if at >= 0:
                    self._hold("<")
                position = end + 1
        self.left = 0

    def finish(self) -> Iterator[str | Tag]:
        """No more comes: what was held is a tag that is cut off, or text that only began like one."""
        held, inside = "".join(self._held), self._inside
        self._take()
        if inside or held in _OPENINGS:
            yield Tag("broken", held, problem=f"Expected the end of the tag, got {_short(held)}")
        elif held:
            yield held

    def _hold(self, text: str) -> None:
        self._held.append(text)
        self._length += len(text)

    def _take(self) -> str:
        held = "".join(self._held)
        self._held.clear()
        self._length, self._inside = 0, False
        return held

    def _given_up(self) -> Iterator[str | Tag]:
        """The held text is no tag after all: it stays text, so that nothing of the answer is lost."""
        text = self._take()
        yield text
        yield Tag(
            "unclosed", text, problem=f"Expected a tag that ends on its line with >, got {_short(text)}"
        )


def _read(source: str, exact: bool) -> Tag:
    """A complete tag, whatever stands in it."""
    match = _PROMISE.fullmatch(source)
    if match is not None and (tokens := int(match["tokens"])) <= MAX_TOKENS and (exact or tokens % 10 == 0):
        return Tag("promise", source, match["topic"], tokens)
    if source.startswith(PROMISE):
        return _read_promise(source)
    others: dict[str, Kind] = {ASYNC: "async", END: "end", SYNC: "sync"}
    for tag, kind in others.items():
        if source == tag:
            return Tag(kind, source)
        if source.startswith(tag.rstrip("/>")) and not (kind == "async" and source.endswith("/>")):
            return Tag(kind, source, problem=f"Expected {tag}, got {_short(source)}")
    expected = f'{PROMISE} topic="..." tokens="..."/>, {ASYNC}, {END} or {SYNC}'
    return Tag("broken", source, problem=f"Expected {expected}, got {_short(source)}")


def _read_promise(source: str) -> Tag:
    """A promise that is not written as it should be, with what can be made of it."""
    found = [(name, "".join(values)) for name, *values in _ATTRIBUTE.findall(source)]
    attributes = dict(reversed(found))
    topic = " ".join(attributes.get("topic", "").translate(_UNPRINTABLE).split())
    length = attributes.get("tokens", "").strip()
    names = [name for name, _ in found]
    tokens = DEFAULT_TOKENS
    if length.isascii() and length.isdecimal() and len(length) < 10:
        tokens = min(max(int(length), 1), MAX_TOKENS)
    if not topic:
        wanted, got = 'topic="..."', "none" if "topic" not in attributes else "an empty one"
    elif "tokens" not in attributes:
        wanted, got = 'tokens="..."', "none"
    elif str(tokens) != length or tokens % 10:
        wanted, got = f"tokens, a multiple of ten from 10 to {MAX_TOKENS:,}", repr(length)[:40]
    elif names != ["topic", "tokens"]:
        wanted, got = "topic and tokens, each once and in this order", ", ".join(names)[:60]
    else:
        wanted, got = f'{PROMISE} topic="{topic}" tokens="{tokens}"/>', "another spelling"
    return Tag("promise", source, topic, tokens, f"Expected {wanted}, got {got} - at {_short(source)}")


def _short(source: str) -> str:
    return repr(source if len(source) <= 60 else source[:59] + "\N{HORIZONTAL ELLIPSIS}")


_UNPRINTABLE = str.maketrans("", "", '"<>')
