"""Token counts of requests, nodes and runs."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

__all__ = ["Usage"]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts; usages add up."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt tokens, those that the engine found in its prefix cache."""
    completion_tokens: int = 0
    wasted_tokens: int = 0
    """Of the completion tokens, those that were aborted or thrown away: a losing hedge, a restart."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            wasted_tokens=self.wasted_tokens + other.wasted_tokens,
        )

    @classmethod
    def total(cls, usages: Collection[Usage]) -> Usage:
        """The sum of many."""
        return cls(
            prompt_tokens=sum([usage.prompt_tokens for usage in usages]),
            cached_tokens=sum([usage.cached_tokens for usage in usages]),
            completion_tokens=sum([usage.completion_tokens for usage in usages]),
            wasted_tokens=sum([usage.wasted_tokens for usage in usages]),
        )

    @property
    def useful_tokens(self) -> int:
        """Completion tokens that were not wasted."""
        return self.completion_tokens - self.wasted_tokens

    def as_wasted(self) -> Usage:
        """The same tokens, all of them wasted."""
        return msgspec.structs.replace(self, wasted_tokens=self.completion_tokens)
