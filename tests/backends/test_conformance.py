"""The engines of the project that need no server pass the conformance kit."""

from __future__ import annotations

import asyncio
import re
from types import TracebackType
from typing import Any

import msgspec
import pytest

from flowdecode.backend import Backend, Delta, Request
from flowdecode.context import Block, Context
from flowdecode.usage import Usage
from flowdecode_backends.conformance import BackendConformance, harness
from flowdecode_backends.scripted import Scripted, ScriptedDecoding
from flowdecode_backends.simulated import Simulated

TEXT = "Tea is an infusion of leaves, and an old one: it came to Europe by sea, to others by land; 東京 too."


def reply(request: Request) -> str:
    if request.grammar is None:
        return f"{TEXT} {request.context.block.text[-20:]} " * 20
    yes = re.fullmatch(request.grammar.regex, "yes\n")
    return "yes\n" if yes else request.grammar.regex


class TestScripted(BackendConformance):
    draws = False

    @pytest.fixture
    def backend(self) -> Backend:
        return Scripted(reply, context_length=2000)


class TestSimulated(BackendConformance):
    draws = False

    @pytest.fixture
    def backend(self) -> Backend:
        return Simulated(replies=reply, context_length=2000)


class Wrong(Scripted):
    """A backend that breaks one rule."""

    def __init__(self, rule: str) -> None:
        super().__init__(reply, context_length=2000)
        self.rule = rule

    def decode(self, request: Request) -> ScriptedDecoding:
        sampling, rule = request.sampling, self.rule
        if rule == "stop":
            sampling = msgspec.structs.replace(sampling, stop=())
        elif rule == "stop_token_ids":
            sampling = msgspec.structs.replace(sampling, stop_token_ids=())
        elif rule == "max_tokens" and sampling.max_tokens is not None:
            sampling = msgspec.structs.replace(sampling, max_tokens=sampling.max_tokens + 1)
        request = msgspec.structs.replace(request, sampling=sampling)
        if rule == "grammar":
            request = msgspec.structs.replace(request, grammar=None)
        elif rule == "empty" and not request.context.block.text:
            request = msgspec.structs.replace(request, context=Context.of([Block("user", "?")]))
        elif rule == "prefill" and request.context.parent is not None:
            request = msgspec.structs.replace(request, context=request.context.parent)
        return WrongDecoding(self, request)

    def count_tokens(self, context: Context) -> int:
        return 1 if self.rule == "count" else super().count_tokens(context)


class WrongDecoding(ScriptedDecoding):
    def __init__(self, backend: Wrong, request: Request) -> None:
        super().__init__(backend, request)
        self.rule = backend.rule

    @property
    def usage(self) -> Usage:
        usage = super().usage
        if self.rule == "usage":
            usage = msgspec.structs.replace(usage, completion_tokens=max(usage.completion_tokens - 3, 0))
        return msgspec.structs.replace(usage, cached_tokens=0) if self.rule == "cache" else usage

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        running = self._backend.running
        await super().__aexit__(exc_type, exc, traceback)
        if self.rule == "abort":
            self._backend.running = running

    async def __anext__(self) -> Delta:
        await asyncio.sleep(0)
        delta = await super().__anext__()
        if self.rule == "unicode":
            return Delta(
                "".join(letter if letter.isascii() else "\ufffd" for letter in delta.text), delta.tokens
            )
        if self.rule == "mix" and self._backend.running > 1:
            return Delta("What?", delta.tokens)
        return delta


@pytest.mark.parametrize(
    ("rule", "test", "arguments"),
    [
        ("stop", "a_stop_string_ends_an_answer_before_it", ["two pieces"]),
        ("stop_token_ids", "a_stop_token_id_ends_an_answer_or_is_refused", []),
        ("max_tokens", "max_tokens_bounds_an_answer", [2]),
        ("usage", "usage_adds_up", []),
        ("cache", "an_answer_is_a_prefix_of_what_goes_on_behind_it", []),
        ("count", "tokens_are_counted_as_they_are_sent", []),
        ("prefill", "an_answer_that_was_begun_goes_on", []),
        ("grammar", "a_grammar_is_followed", []),
        ("abort", "leaving_a_stream_ends_its_request", [1]),
        ("abort", "a_cancelled_run_leaves_nothing_running", []),
        ("mix", "concurrent_requests_do_not_mix", []),
        ("unicode", "a_character_of_several_tokens_comes_whole", []),
        ("empty", "an_empty_prompt_is_refused", []),
    ],
)
def test_a_backend_that_breaks_a_rule_fails(
    rule: str, test: str, arguments: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "DEADLINE", 0.05)
    getattr(TestScripted(), f"test_{test}")(Wrong(""), *arguments)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(TestScripted(), f"test_{test}")(Wrong(rule), *arguments)
