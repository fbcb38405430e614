"""Engines that go on to a request's `max_tokens`, and one on which Plato can only write a given plan."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self

import msgspec

from flowdecode.backend import Backend, Decoding, Delta, Engine, Load, Request
from flowdecode.context import Context
from flowdecode_backends.local.backend import Local, LocalStream
from flowdecode_backends.sglang_client import SGLang
from flowdecode_graphs.prompts import Prompts
from tests.benchmarks.forced_plan import ForcedPlan, Literal, in_tokens

__all__ = ["EndlessLocal", "EndlessSGLang", "Planned", "forced_text"]


class EndlessSGLang(SGLang):
    """Answers go on behind their end; literal ones are decoded in the tokenizer's own tokens."""

    salted = False
    """Whether every request has a prefix cache of its own: no prefix discipline at all."""

    def sampling(self, request: Request, prompt_tokens: int) -> dict[str, Any]:
        params = super().sampling(request, prompt_tokens)
        if isinstance(request.grammar, Literal):
            assert self.tokens is not None
            return {**params, "ebnf": in_tokens(self.tokens.encode(request.grammar.text))}
        params.pop("stop_token_ids", None)
        return {**params, "ignore_eos": True}

    def body(self, request: Request, prompt: Any) -> dict[str, Any]:
        body = super().body(request, prompt)
        return {**body, "cache_salt": request.id} if self.salted else body


class EndlessLocal(Local):
    """Answers go on, as the tokens that would end them are banned."""

    def decode(self, request: Request) -> LocalStream[Delta]:
        if request.grammar is None:
            banned = dict.fromkeys(self.shared.model.stop_ids, -100.0)
            sampling = msgspec.structs.replace(request.sampling, logit_bias=banned)
            request = msgspec.structs.replace(request, sampling=sampling)
        return super().decode(request)


def forced_text(request: Request) -> str:
    """What an engine without a model answers: the literal text, or as many tokens as it is asked for."""
    if isinstance(request.grammar, Literal):
        return request.grammar.text
    return " x" * (request.sampling.max_tokens or 0)


class Planned:
    """A backend for one run of Plato: its planner can write only this plan, its parts get their lengths."""

    def __init__(self, backend: Backend, plan: ForcedPlan, prompts: Prompts | None = None) -> None:
        """`backend` is open, and decodes as many tokens as it is asked for; `prompts` are Plato's."""
        self.sent = 0
        """Requests so far."""
        self._backend = backend
        self._plan = Literal.of(plan.text)
        prompts = prompts or Prompts.for_engine(backend.engine)
        self._lengths = {plan.instruction(n, prompts): part.tokens for n, part in plan.parts.items()}

    @property
    def engine(self) -> Engine:
        return self._backend.engine

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def decode(self, request: Request) -> AbstractAsyncContextManager[Decoding]:
        self.sent += 1
        return self._backend.decode(self._forced(request))

    def count_tokens(self, context: Context) -> int:
        return self._backend.count_tokens(context)

    async def load(self) -> Load | None:
        return await self._backend.load()

    def _forced(self, request: Request) -> Request:
        if request.sampling.max_tokens == 1:  # early prefill
            return request
        if request.grammar is not None:
            return msgspec.structs.replace(request, grammar=self._plan)
        length = self._lengths[request.context.block.text]
        sampling = msgspec.structs.replace(request.sampling, max_tokens=length)
        return msgspec.structs.replace(request, sampling=sampling)
