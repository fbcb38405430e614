"""What a run is asked: a checked list of chat messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from flowdecode.context import Block, Message
from flowdecode.errors import ConfigurationError

__all__ = ["Prompt"]


class Prompt(msgspec.Struct, frozen=True):
    """A conversation whose last message is the user's."""

    blocks: tuple[Block, ...]
    chat_template_kwargs: Mapping[str, Any] | None = None

    @classmethod
    def read(
        cls,
        prompt: str | Sequence[Message],
        *,
        system: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """Check what a user passed. Raises ConfigurationError, which names the message at fault.

        Neighbouring messages of one role become one turn, a blank line between them.
        """
        messages: Sequence[Message] = (
            [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        )
        if not isinstance(cast(object, messages), Sequence) or isinstance(cast(object, messages), bytes):
            raise ConfigurationError(
                f"Expected a text or a list of chat messages, got {type(messages).__name__} - at `prompt`."
            )
        if system:
            messages = [{"role": "system", "content": system}, *messages]
        blocks: list[Block] = []
        for index, message in enumerate(messages):
            block = _read_message(message, index)
            if blocks and blocks[-1].role == block.role:
                blocks[-1] = Block(block.role, f"{blocks[-1].text}\n\n")
            blocks.append(block)
        if not blocks or blocks[-1].role != "user":
            last = blocks[-1].role if blocks else "nothing"
            raise ConfigurationError(f"Expected the last message to be the user's, got {last} - at `prompt`.")
        if not blocks[-1].text.strip():
            raise ConfigurationError("Expected a question or a task, got an empty text - at `prompt`.")
        return cls(tuple(blocks), chat_template_kwargs)

    @property
    def text(self) -> str:
        """The question: the last message."""
        return self.blocks[-1].text

    def with_rules(self, rules: str) -> list[Block]:
        """The conversation, with `rules` at the end of its system message."""
        blocks = list(self.blocks)
        if rules:
            at = next((i for i, block in enumerate(blocks) if block.role != "system"), 0)
            blocks.insert(at, Block("system", f"\n\n{rules}" if at else rules))
        return blocks


def _read_message(message: Mapping[str, Any], index: int) -> Block:
    where = f"at `prompt[{index}]`"
    if not isinstance(cast(object, message), Mapping):
        raise ConfigurationError(f"Expected a message with `role` and `content`, got {message!r} - {where}.")
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "user", "assistant"):
        raise ConfigurationError(f"Expected the role system, user or assistant, got {role!r} - {where}.")
    if not isinstance(content, str) or message.get("tool_calls"):
        raise ConfigurationError(
            f"Expected text as `content`, got {_kind(content)} - {where}. "
            "Images, files and tool calls are not supported: pass what they say as text."
        )
    try:
        content.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"Expected text that UTF-8 can hold, got a lone surrogate at character {error.start} - {where}. "
            "Decode the bytes that it came from with errors='replace'."
        ) from None
    return Block(role, content)


def _kind(content: object) -> str:
    return "a list of content parts" if isinstance(content, list) else type(content).__name__
