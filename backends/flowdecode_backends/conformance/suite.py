"""The tests of the conformance kit."""

from __future__ import annotations

import asyncio
import re
import time
from itertools import pairwise
from typing import Any

import msgspec
import pytest

import flowdecode
from flowdecode.backend import Backend, Delta, Grammar, SharedKV, Strand
from flowdecode.context import Block, Context
from flowdecode.errors import BackendUnavailable, ContextTooLong, RequestRejected
from flowdecode_backends.conformance.harness import LENGTH, SHORTEST, Answer, Harness, entered

__all__ = ["BackendConformance"]

_UNCERTAIN = "\ufffd"
_WIDE = "na\u00efve \u6771\u4eac \U0001fad6!"
"""A text of characters of two, three and four bytes."""
_ODD = "NUL \x00, combining e\u0301, a pair \U0001f468\u200d\U0001f469, \u202eright to left\u202c"


class BackendConformance(Harness):
    """A class of tests: derive from it, and give it a fixture `backend`."""

    # What it is

    @entered
    async def test_it_tells_what_it_is(self, backend: Backend) -> None:
        engine = backend.engine
        assert engine.model
        assert engine.provider
        assert engine.context_length is None or engine.context_length > 0

    @entered
    async def test_it_can_be_entered_again_while_it_is_open(self, backend: Backend) -> None:
        async with backend as again:
            await self.whole(again)
        await self.whole(backend)

    # What it says

    @entered
    async def test_a_stream_says_what_a_run_says(self, backend: Backend) -> None:
        answer = await self.whole(backend)
        result = await flowdecode.run(
            self.question, backend=backend, strategy="sequential", temperature=0, max_tokens=LENGTH
        )
        if self.repeats:
            assert result.text == answer.text
        assert 0 < result.usage.completion_tokens <= LENGTH

    @entered
    async def test_a_slow_reader_gets_the_same(self, backend: Backend) -> None:
        answer = await self.whole(backend)
        deltas: list[Delta] = []
        async with backend.decode(self.request()) as decoding:
            async for delta in decoding:
                deltas.append(delta)
                await asyncio.sleep(0.002)
        slow = Answer(tuple(deltas), decoding.finish_reason, decoding.usage)
        assert decoding.finish_reason == answer.finish_reason or not self.repeats
        if self.repeats:
            assert (slow.text, slow.tokens) == (answer.text, answer.tokens)

    @pytest.mark.parametrize("most", [1, 2, 5])
    @entered
    async def test_max_tokens_bounds_an_answer(self, backend: Backend, most: int) -> None:
        answer, short = await self.whole(backend), await self.ask(backend, max_tokens=most)
        assert short.finish_reason == "length"
        assert short.usage.completion_tokens == most
        assert len(short.tokens) <= most
        if self.repeats:
            shown = short.text.rstrip(_UNCERTAIN)
            assert answer.text.startswith(shown)
            assert answer.tokens[: len(short.tokens)] == short.tokens

    @entered
    async def test_usage_adds_up(self, backend: Backend) -> None:
        async with backend.decode(self.request()) as decoding:
            seen = [decoding.usage.completion_tokens]
            tokens = 0
            async for delta in decoding:
                tokens += len(delta.tokens)
                seen.append(decoding.usage.completion_tokens)
            usage = decoding.usage
            seen.append(usage.completion_tokens)
        assert seen == sorted(seen)
        assert tokens <= usage.completion_tokens <= LENGTH
        assert 0 <= usage.cached_tokens <= usage.prompt_tokens
        longer = await self.ask(backend, self.question + " Begin with its origin, and leave nothing out.")
        assert longer.usage.prompt_tokens > usage.prompt_tokens > 0

    @entered
    async def test_tokens_are_counted_as_they_are_sent(self, backend: Backend) -> None:
        context = Context.of([Block("user", self.question)])
        longer = context.extend(Block("assistant", "Tea is a drink."), Block("user", "Go on."))
        counted = backend.count_tokens(context), backend.count_tokens(longer)
        assert 0 < counted[0] < counted[1]
        if backend.engine.capabilities.token_ids:
            usage = (await self.ask(backend, context)).usage
            assert counted[0] <= usage.prompt_tokens < counted[1]

    @entered
    async def test_priority_and_headers_do_no_harm(self, backend: Backend) -> None:
        asked = msgspec.structs.replace(
            self.request(), priority=5, headers={"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
        )
        answer = await self.read(backend, asked)
        assert answer.text == (await self.whole(backend)).text or not self.repeats

    # How it ends

    @pytest.mark.parametrize("kind", ["in a piece", "two pieces", "three pieces", "first piece", "several"])
    @entered
    async def test_a_stop_string_ends_an_answer_before_it(self, backend: Backend, kind: str) -> None:
        answer = await self.whole(backend)
        stop = _stop(kind, [delta.text for delta in answer.deltas if delta.text])
        if stop is None:
            pytest.skip("the answer comes in too few pieces, or none of them can be told apart")
        stopped = await self.ask(backend, stop=stop)
        if self.repeats:
            assert stopped.text == answer.text[: min(answer.text.index(end) for end in stop)]
            assert stopped.finish_reason == "stop"
        assert not any(end in stopped.text for end in stop)

    @entered
    async def test_the_beginning_of_a_stop_string_is_no_end(self, backend: Backend) -> None:
        answer = await self.whole(backend)
        begun = answer.text[len(answer.text) // 2 :][:2] + "\u2603 never said"
        again = await self.ask(backend, stop=[begun, answer.text[-1] + "\u2603"])
        assert again.text == answer.text or not self.repeats

    @entered
    async def test_a_stop_token_id_ends_an_answer_or_is_refused(self, backend: Backend) -> None:
        answer = await self.whole(backend)
        if not answer.tokens:
            pytest.skip("it tells no token ids")
        end = answer.tokens[SHORTEST // 2]
        try:
            stopped = await self.ask(backend, stop_token_ids=[end])
        except RequestRejected:
            return
        assert end not in stopped.tokens
        if self.repeats:
            assert stopped.tokens == answer.tokens[: answer.tokens.index(end)]
            assert stopped.finish_reason == "stop"

    @pytest.mark.parametrize("sign", [-1, 1])
    @entered
    async def test_a_logit_bias_is_honoured_or_refused(self, backend: Backend, sign: int) -> None:
        answer = await self.whole(backend)
        if not answer.tokens or not self.draws:
            pytest.skip("it tells no token ids, or draws no tokens")
        token = answer.tokens[SHORTEST // 2]
        try:
            bent = await self.ask(backend, logit_bias={token: 100.0 * sign}, max_tokens=SHORTEST)
        except RequestRejected:
            return
        assert (set(bent.tokens) == {token}) if sign > 0 else (token not in bent.tokens)

    @pytest.mark.parametrize(
        "sampling",
        [
            {"temperature": 0.7, "top_p": 0.9},
            {"temperature": 1.0, "top_k": 5},
            {"temperature": 1.0, "min_p": 0.1},
            {"temperature": 1.0, "seed": 3},
            {"repetition_penalty": 1.1},
            {"logit_bias": {5: -1.0}},
            {"stop_token_ids": [5]},
            {"stop": "e"},
        ],
        ids=lambda sampling: list(sampling)[-1],
    )
    @entered
    async def test_a_sampling_value_is_taken_or_refused(
        self, backend: Backend, sampling: dict[str, Any]
    ) -> None:
        try:
            answer = await self.ask(backend, **sampling)
        except RequestRejected:
            return
        assert answer.finish_reason in ("stop", "length")

    # What it claims

    @entered
    async def test_a_grammar_is_followed(self, backend: Backend) -> None:
        if not backend.engine.capabilities.grammar:
            pytest.skip("it claims no grammars")
        grammar = Grammar(ebnf='root ::= ("yes" | "no") "\\n"\n', regex="(?:yes|no)\\n")
        answer = await self.ask(backend, grammar=grammar)
        assert re.fullmatch(grammar.regex, answer.text)
        assert answer.finish_reason == "stop"

    @entered
    async def test_an_answer_that_was_begun_goes_on(self, backend: Backend) -> None:
        if not backend.engine.capabilities.assistant_prefill:
            pytest.skip("it claims no assistant prefill")
        first = await self.ask(backend, max_tokens=SHORTEST // 2)
        begun = Block("assistant", first.text, first.tokens or None)
        context = Context.of([Block("user", self.question), begun])
        rest = await self.ask(backend, context, max_tokens=LENGTH - SHORTEST // 2)
        if first.tokens and self.repeats:
            answer = await self.whole(backend)
            assert first.tokens + rest.tokens == answer.tokens
        assert rest.usage.prompt_tokens > first.usage.prompt_tokens

    @entered
    async def test_an_answer_is_a_prefix_of_what_goes_on_behind_it(self, backend: Backend) -> None:
        able = backend.engine.capabilities
        if not (able.token_ids and able.cached_tokens):
            pytest.skip("it claims no token-exactness that could be seen")
        # A head of its own, that no other test has left in the cache.
        context = Context.of([Block("system", f"Number {time.time_ns()}."), Block("user", self.question)])
        first = await self.ask(backend, context)
        said = context.extend(Block("assistant", first.text, first.tokens))
        again = await self.ask(backend, said.extend(Block("user", "Say more of it.")))
        known = backend.count_tokens(said) - 1  # of the last token nothing may have been computed
        assert again.usage.cached_tokens >= known // self.page * self.page

    @entered
    async def test_strands_fork_and_join(self, backend: Backend) -> None:
        if not backend.engine.capabilities.shared_kv:
            pytest.skip("it claims no shared KV")
        assert isinstance(backend, SharedKV), "Expected a SharedKV, as its capabilities claim."
        forks: list[Strand] = []

        def steer(strand: Strand, token: int) -> None:
            assert strand.tokens[-1] == token
            if len(strand.tokens) == 2:
                forks.append(strand.fork([token], max_tokens=3))
                strand.skip(3)
            elif len(strand.tokens) == 3:
                strand.join(*forks)

        async with backend.interleave(self.request(max_tokens=SHORTEST), steer) as stream:
            pieces = [piece async for piece in stream]
        assert [piece.strand for piece in pieces if piece.finish_reason] == [1, 0], "a join waits"
        decoded = {piece.strand: piece.decoded for piece in pieces}
        assert stream.usage.completion_tokens == sum(decoded.values())
        assert (stream.finish_reason, decoded[1]) == (pieces[-1].finish_reason, 3)

    # Cancelling

    @pytest.mark.parametrize("read", [0, 1, 3])
    @entered
    async def test_leaving_a_stream_ends_its_request(self, backend: Backend, read: int) -> None:
        async with backend.decode(self.request(max_tokens=10 * LENGTH)) as decoding:
            stream = aiter(decoding)
            for _ in range(read):
                await anext(stream)
        assert decoding.finish_reason == "abort"
        assert read <= decoding.usage.completion_tokens or not backend.engine.capabilities.token_ids
        await self.idle(backend)
        await self.whole(backend)

    @pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
    @entered
    async def test_cancelling_a_reader_ends_its_request(self, backend: Backend, turns: int) -> None:
        task = asyncio.create_task(self.ask(backend, max_tokens=10 * LENGTH))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.result()
        await self.idle(backend)
        await self.whole(backend)

    @entered
    async def test_a_cancelled_run_leaves_nothing_running(self, backend: Backend) -> None:
        async with flowdecode.stream(
            self.question, backend=backend, strategy="sequential", max_tokens=10 * LENGTH
        ) as run:
            async for _ in run.text:
                break
        await self.idle(backend)

    # Concurrency

    @entered
    async def test_concurrent_requests_do_not_mix(self, backend: Backend) -> None:
        questions = [f"{self.question} This is number {number}." for number in range(8)]
        alone = [await self.ask(backend, question) for question in questions]
        together = await asyncio.gather(*(self.ask(backend, question) for question in questions))
        for one, other in zip(alone, together, strict=True):
            assert one.usage.prompt_tokens == other.usage.prompt_tokens
            assert other.finish_reason in ("stop", "length")
            if self.repeats:
                assert (one.text, one.tokens) == (other.text, other.tokens)

    @entered
    async def test_a_request_that_is_left_disturbs_no_other(self, backend: Backend) -> None:
        async def leave() -> None:
            async with backend.decode(self.request(max_tokens=10 * LENGTH)) as decoding:
                async for _ in decoding:
                    break

        whole = await self.whole(backend)
        answers = await asyncio.gather(self.ask(backend), leave(), leave(), self.ask(backend))
        for answer in answers:
            if answer is not None:
                assert answer.finish_reason == whole.finish_reason
                assert answer.text == whole.text or not self.repeats
        await self.idle(backend)

    # Unicode

    @entered
    async def test_odd_characters_can_be_asked(self, backend: Backend) -> None:
        answer = await self.ask(backend, f"{self.question} {_ODD}")
        assert answer.finish_reason in ("stop", "length")

    @entered
    async def test_a_character_of_several_tokens_comes_whole(self, backend: Backend) -> None:
        if backend.engine.capabilities.grammar:
            grammar = Grammar(ebnf=f'root ::= "{_WIDE}"\n', regex=_WIDE)
            answer = await self.ask(backend, grammar=grammar, max_tokens=10 * LENGTH)
            assert answer.text == _WIDE
        elif self.unicode_question is not None:
            answer = await self.ask(backend, self.unicode_question)
            assert not answer.text.isascii(), f"Expected a character of several tokens, got {answer.text!r}"
        else:
            pytest.skip("it claims no grammars, and there is no `unicode_question`")
        assert not any(_UNCERTAIN in delta.text for delta in answer.deltas)

    # Errors

    @entered
    async def test_an_empty_prompt_is_refused(self, backend: Backend) -> None:
        with pytest.raises(RequestRejected):
            await self.ask(backend, "")
        await self.whole(backend)

    @entered
    async def test_a_prompt_that_is_too_long_is_refused(self, backend: Backend) -> None:
        limit = backend.engine.context_length
        if limit is None or limit > 1 << 17:
            pytest.skip("it tells no context length, or a very large one")
        with pytest.raises(ContextTooLong) as caught:
            await self.ask(backend, "tea and coffee, " * limit)
        assert caught.value.tokens > caught.value.limit
        await self.whole(backend)

    def test_an_engine_that_is_not_there_is_unavailable(self, unreachable: Backend | None) -> None:
        if unreachable is None:
            pytest.skip("no fixture `unreachable`")

        async def use() -> None:
            async with unreachable as backend:
                await self.ask(backend)

        with pytest.raises(BackendUnavailable):
            asyncio.run(use())


def _stop(kind: str, pieces: list[str]) -> list[str] | None:
    """Stop strings that the pieces of an answer hold, at the borders that `kind` names."""
    text = "".join(pieces)
    if kind == "first piece":
        stops = [pieces[0]]
    elif kind == "in a piece":
        stops = [piece[:-1][-2:] for piece in pieces[2:] if len(piece) > 1]
    elif kind == "two pieces":
        stops = [one[-1] + two[0] for one, two in pairwise(pieces[1:])]
    elif kind == "three pieces":
        stops = [
            one[-1] + two + three[0]
            for one, two, three in zip(pieces[1:], pieces[2:], pieces[3:], strict=False)
        ]
    else:
        half = len(text) // 2
        pair = [text[half : half + 2], text[3:5]]
        return None if any(_UNCERTAIN in stop for stop in pair) or len(text) < 12 else pair
    return next(([stop] for stop in stops if _UNCERTAIN not in stop), None)
