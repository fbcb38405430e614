"""What promises say of their chunks' lengths, counted by the tokenizer of the model that will write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from flowdecode_graphs.pasta.document import Chunk, Document
from flowdecode_graphs.pasta.language import DEFAULT_TOKENS, MAX_TOKENS

__all__ = ["Lengths", "with_lengths"]

Lengths = Literal["tens", "exact", "fixed"]
"""`tens` is the language; the others are for comparison: the length itself, or always the same one."""

_TAGS = 2
"""`<async>` and `</async>`, a token each."""


def with_lengths(document: Document, count: Callable[[str], int], lengths: Lengths = "tens") -> Document:
    """The same document whose promises say how many tokens their chunks take, by `count`, with both tags."""
    return Document(
        tuple(
            msgspec.structs.replace(part, tokens=_promised(count(part.text) + _TAGS, lengths))
            if isinstance(part, Chunk)
            else part
            for part in document.parts
        ),
        exact=lengths == "exact",
    )


def _promised(tokens: int, lengths: Lengths) -> int:
    if lengths == "fixed":
        return DEFAULT_TOKENS
    return min(tokens if lengths == "exact" else -(-tokens // 10) * 10, MAX_TOKENS)
