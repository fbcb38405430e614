"""Constrained decoding by llguidance, where it is installed: which tokens may come next."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flowdecode.backend import Grammar
from flowdecode.errors import BackendError, RequestRejected

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["Grammars", "Matcher"]

_log = logging.getLogger("flowdecode")

_KEPT = 64
"""Compiled grammars that are kept, the least recently used go."""


class Grammars:
    """Compiles grammars for one tokenizer, each once; from any thread."""

    def __init__(self, tokenizer: LLTokenizer, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._lock = threading.Lock()
        self._compiled = lru_cache(_KEPT)(self._compile)

    @classmethod
    def of(cls, tokenizer: Any, vocabulary: int, ends: Iterable[int]) -> Grammars | None:
        """Those of a model with so many logits whose answers end with `ends`; None where it has none.

        That is where llguidance is not installed, or has no use for the tokenizer.
        """
        try:
            from llguidance.hf import from_tokenizer
        except ModuleNotFoundError:
            _log.info("Grammars are off: llguidance is not installed (pip install 'flowdecode[local]').")
            return None
        size = max(vocabulary, len(tokenizer))
        try:
            made = from_tokenizer(tokenizer, n_vocab=size, eos_token=[end for end in ends if end < size])
        except ValueError as error:
            _log.warning("Grammars are off: llguidance has no use for the tokenizer: %s", error)
            return None
        return cls(made, vocabulary)

    def matcher(self, grammar: Grammar) -> Matcher:
        """At the beginning of a grammar's text. Raises RequestRejected for one that can't be compiled."""
        with self._lock:
            return Matcher(self._compiled(grammar.regex).deep_copy(), self._vocabulary)

    def _compile(self, regex: str) -> LLMatcher:
        from llguidance import LLMatcher

        matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_regex(regex), log_level=0)
        if matcher.is_error():
            raise RequestRejected(f"Expected a regular expression, got {regex!r}: {matcher.get_error()}")
        return matcher


class Matcher:
    """How far one answer has come in its grammar's text."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    @property
    def ended(self) -> bool:
        """Whether nothing more can come."""
        return self._matcher.is_stopped()

    def allowed(self) -> torch.Tensor:
        """Whether each token may come next, `[vocabulary]`; those that end an answer where the text may."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        return torch.from_numpy(  # pyright: ignore[reportUnknownMemberType]
            np.unpackbits(bits, count=self._vocabulary, bitorder="little").astype(np.bool_)
        )

    def accept(self, token: int) -> None:
        """Go on behind a token. Raises BackendError where the grammar has become too much."""
        if not self._matcher.consume_token(token):
            raise BackendError(f"The grammar can't be followed any further: {self._matcher.get_error()}")
