"""A real server's answers, kept, and a simulated engine that gives the same tokens to the same requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flowdecode.backend import Delta, Request
from flowdecode.context import Context
from flowdecode.strategy import Strategy
from flowdecode_backends.replies import Answer
from flowdecode_backends.sglang_client import SGLang
from flowdecode_backends.sglang_client.stream import SGLangStream
from flowdecode_backends.simulated import Profile, Simulated
from tests.benchmarks.forced_plan import ForcedPlan

__all__ = ["Asked", "Recorded", "Recording", "Replaying"]

ANSWER = 400
"""Tokens of an answer to a question that has no plan; else it is as long as the plan's parts."""


class Asked(NamedTuple):
    """One run: its question, the plan that it is to have, and its strategy."""

    question: str
    plan: ForcedPlan | None
    strategy: Strategy | str


Recorded = dict[tuple[int, ...], Answer]
"""Answers by their prompts."""


class Recording(SGLang):
    """A server whose answers have the lengths that they are to have, and are kept."""

    def __init__(self, url: str, asked: Sequence[Asked], recorded: Recorded) -> None:
        super().__init__(url)
        self._plans = {each.question: each.plan for each in asked}
        self._recorded = recorded

    def sampling(self, request: Request, prompt_tokens: int) -> dict[str, Any]:
        params = {**super().sampling(request, prompt_tokens), "temperature": 0.0}
        said = "".join(prefix.block.text for prefix in request.context.prefixes())
        plan = next(plan for question, plan in self._plans.items() if question in said)
        if request.grammar is not None:
            assert plan is not None
            literal = plan.text.replace("\n", "\\n")
            return {**params, "ebnf": f'root ::= "{literal}"\n'}
        params.pop("stop_token_ids", None)
        told = request.context.block.text
        planned = list(plan.parts.values()) if plan else []
        whole = sum(tokens for _, tokens, _ in planned) or ANSWER
        length = next((tokens for title, tokens, _ in planned if title in told), whole)
        return {**params, "max_new_tokens": length, "ignore_eos": True}

    def decode(self, request: Request) -> SGLangStream:
        return _RecordedStream(self, request, self._recorded)


class _RecordedStream(SGLangStream):
    def __init__(self, backend: SGLang, request: Request, recorded: Recorded) -> None:
        super().__init__(backend, request)
        self._asked = backend, request.context
        self._recorded = recorded
        self._deltas: list[Delta] = []

    async def __anext__(self) -> Delta:
        try:
            delta = await super().__anext__()
        except StopAsyncIteration:
            backend, context = self._asked
            assert backend.tokens is not None
            assert self.finish_reason is not None
            deltas = step_by_step(self._deltas, self.usage.completion_tokens)
            self._recorded[backend.tokens.render(context)] = Answer(deltas, self.finish_reason)
            raise
        self._deltas.append(delta)
        return delta


def step_by_step(deltas: Sequence[Delta], tokens: int) -> tuple[Delta, ...]:
    """One delta a token: a client sees several at once, and a last one that it is not shown."""
    steps = [
        Delta(delta.text if place == len(delta.tokens) - 1 else "", (token,))
        for delta in deltas
        for place, token in enumerate(delta.tokens)
    ]
    return (*steps, *[Delta("")] * (tokens - len(steps)))


class Replaying(Simulated):
    """The simulated engine with a real model's tokens: the same requests get the same answers."""

    def __init__(self, profile: Profile, recording: SGLang, recorded: Recorded) -> None:
        super().__init__(**profile.settings, profile=recording.engine.profile)
        assert recording.tokens is not None
        self._tokens = recording.tokens
        self._recorded = recorded

    def prompt(self, request: Request) -> tuple[int, ...]:
        return self._tokens.render(request.context)

    def count_tokens(self, context: Context) -> int:
        return self._tokens.count(context)

    def answer(self, request: Request, prompt_tokens: int) -> Answer:
        return self._recorded[self._tokens.render(request.context)]
