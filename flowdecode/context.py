"""Blocks and contexts: the immutable conversations that nodes decode from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypedDict

import msgspec

__all__ = ["Block", "Context", "Message", "Role"]

Role = Literal["system", "user", "assistant"]


class Message(TypedDict):
    """A chat message as every engine and agent framework knows it."""

    role: str
    content: str


class Block(msgspec.Struct, frozen=True):
    """An immutable piece of a conversation.

    A decoded block keeps the ids that the engine sampled, so that its text is never tokenised again.
    """

    role: Role
    text: str
    tokens: tuple[int, ...] | None = None


class Context(msgspec.Struct, frozen=True, eq=False, weakref=True):
    """An immutable sequence of blocks, as a linked list: extending shares all that went before.

    Neighbouring blocks of one role form one turn. The tokens of a context are a prefix of the tokens
    of every extension of it: block borders are token borders, and an engine adds the glue that lets
    the assistant speak only behind the last block.
    """

    block: Block
    parent: Context | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, blocks: Iterable[Block], chat_template_kwargs: Mapping[str, Any] | None = None) -> Context:
        """The context of at least one block."""
        context: Context | None = None
        for block in blocks:
            context = Context(block, context, chat_template_kwargs)
        if context is None:
            raise ValueError("Expected at least one block, got none.")
        return context

    def extend(self, *blocks: Block) -> Context:
        """The same context with `blocks` behind it."""
        context = self
        for block in blocks:
            context = Context(block, context, self.chat_template_kwargs)
        return context

    def prefixes(self) -> Iterator[Context]:
        """The context itself, then ever shorter ones, down to its first block."""
        context: Context | None = self
        while context is not None:
            yield context
            context = context.parent

    def blocks(self) -> list[Block]:
        """The blocks, first one first."""
        return [context.block for context in self.prefixes()][::-1]

    def messages(self) -> list[Message]:
        """The conversation as chat messages, one a turn."""
        messages: list[Message] = []
        for block in self.blocks():
            if messages and messages[-1]["role"] == block.role:
                messages[-1]["content"] += block.text
            else:
                messages.append({"role": block.role, "content": block.text})
        return messages
