"""The toy tokenizer of the scripted and the simulated backend: pieces of about a word, with stable ids.

A context is rendered as one glue id per turn (what a chat template writes around a role) and the ids
of its blocks. Every block is tokenised by itself, so that the tokens of a context are a prefix of
the tokens of every extension of it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple
from weakref import WeakKeyDictionary

from flowdecode.context import Context, Role

__all__ = ["count", "has_words", "render", "split", "token_id", "tokenize"]

_PIECE = re.compile(r" ?(?:\w{1,16}|[^\w\s])|\s")
_GLUE: dict[Role, int] = {"system": 1, "user": 2, "assistant": 3}
_FIRST_WORD = 8


def split(text: str) -> list[str]:
    """The pieces of a text, each about a word or a punctuation mark; joined they give the text again."""
    return _PIECE.findall(text)


@lru_cache(maxsize=1 << 16)
def token_id(piece: str) -> int:
    """The id of a piece: the same in every process, and never that of a glue."""
    digest = blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return _FIRST_WORD + int.from_bytes(digest, "big")


def tokenize(text: str) -> tuple[int, ...]:
    """The ids of a text."""
    return tuple(map(token_id, split(text)))


def render(context: Context) -> tuple[int, ...]:
    """The prompt that `context` is decoded from, the assistant's header included."""
    rendered = _rendered(context)
    parts = [_memo[prefix].tokens for prefix in context.prefixes()][::-1]
    return (*chain.from_iterable(parts), *rendered.header)


def count(context: Context) -> int:
    """The length of `render(context)` without the header; only blocks that are new cost anything."""
    return _rendered(context).total


def has_words(context: Context) -> bool:
    """Whether there is anything but glue in a context."""
    return any(prefix.block.tokens or prefix.block.text for prefix in context.prefixes())


class _Rendered(NamedTuple):
    tokens: tuple[int, ...]
    """The last block's ids, the glue before it included."""
    total: int
    """The ids of the whole context, without the header."""
    header: tuple[int, ...]
    """What lets the assistant speak behind it: nothing where it speaks already."""


_memo: WeakKeyDictionary[Context, _Rendered] = WeakKeyDictionary()


def _rendered(context: Context) -> _Rendered:
    new: list[Context] = []
    before: _Rendered | None = None
    for prefix in context.prefixes():
        before = _memo.get(prefix)
        if before is not None:
            break
        new.append(prefix)
    total = before.total if before else 0
    for prefix in reversed(new):
        block, parent = prefix.block, prefix.parent
        tokens = tokenize(block.text) if block.tokens is None else block.tokens
        if parent is None or parent.block.role != block.role:
            tokens = (_GLUE[block.role], *tokens)
        total += len(tokens)
        header = () if block.role == "assistant" else (_GLUE["assistant"],)
        before = _memo[prefix] = _Rendered(tokens, total, header)
    assert before is not None  # a context has at least one block
    return before
