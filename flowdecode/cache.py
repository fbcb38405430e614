"""The global context cache: a run's blocks, shared, and what of them the engine should still hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flowdecode.context import Block, Context

__all__ = ["ContextCache"]


class ContextCache:
    """Every node's context is assembled here, so that equal prefixes are one object.

    The predicted hit of a context is its longest prefix that this run has sent or decoded before.
    """

    def __init__(self, count_tokens: Callable[[Context], int]) -> None:
        self._count_tokens = count_tokens
        self._contexts: dict[tuple[int | str, Block], Context] = {}
        self._sent: set[Context] = set()

    def context(
        self, blocks: Iterable[Block], chat_template_kwargs: Mapping[str, Any] | None = None
    ) -> Context:
        """The context of `blocks`, of which there is at least one."""
        first, *others = blocks
        key = (repr(chat_template_kwargs) if chat_template_kwargs else "", first)
        shared = self._contexts.get(key)
        if shared is None:
            shared = self._contexts[key] = Context(first, None, chat_template_kwargs)
        return self.extend(shared, *others) if others else shared

    def extend(self, context: Context, *blocks: Block) -> Context:
        """`context` with `blocks` behind it."""
        for block in blocks:
            key = (id(context), block)
            extended = self._contexts.get(key)
            if extended is None:
                extended = self._contexts[key] = Context(block, context, context.chat_template_kwargs)
            context = extended
        return context

    def sent(self, context: Context | None) -> None:
        """The engine has processed `context`, and so all its prefixes."""
        while context is not None and context not in self._sent:
            self._sent.add(context)
            context = context.parent

    def expected_cached_tokens(self, context: Context | None) -> int:
        """Tokens of `context` that the engine should find in its prefix cache."""
        while context is not None and context not in self._sent:
            context = context.parent
        return self._count_tokens(context) if context is not None else 0
