"""One node's decode: retries, continuation, limits, deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import pytest

import flowdecode
from flowdecode.attempt import ABORT_DEADLINE, CONTINUE, Decode, Retry, derived_seed
from flowdecode.backend import Backend, Capabilities, Delta, Engine, FinishReason, Grammar, Load, Request
from flowdecode.context import Block, Context
from flowdecode.errors import (
    BackendError,
    BackendUnavailable,
    ContextTooLong,
    NodeError,
    RateLimited,
    RequestRejected,
)
from flowdecode.events import AnswerDelta, NodeDelta
from flowdecode.result import Result
from flowdecode.sampling import SamplingParams
from flowdecode.usage import Usage
from flowdecode_backends import words
from flowdecode_backends.scripted import Fault, FaultKind, Reply, Scripted
from flowdecode_backends.simulated import simulate
from tests.leaks import no_leaks
from tests.parts import Part, Parts, asked

TEXT = "One two three, עוד ארבע, fünf 👩‍👩‍👧 and seven."
TOKENS = words.tokenize(TEXT)
PIECES = words.split(TEXT)

FULL = Capabilities(token_ids=True, assistant_prefill=True, grammar=True, priority=True, cached_tokens=True)
PREFILL = Capabilities(assistant_prefill=True)
NOTHING = Capabilities()


def sequential(backend: Backend, prompt: str = "Count.", **settings: Any) -> Result:
    """The result of a sequential run in virtual time, which leaves nothing behind."""

    async def run() -> Result:
        async with no_leaks(backend):
            return await flowdecode.run(prompt, backend=backend, strategy="sequential", **settings)

    return simulate(run())


def failing(backend: Backend, error: type[Exception], **settings: Any) -> Any:
    """The error of a sequential run, of a given type."""
    with pytest.raises(error) as raised:
        sequential(backend, **settings)
    return raised.value


def dying(*after_tokens: int, error: FaultKind = "drop", text: str = TEXT) -> list[Reply]:
    """A reply that dies after so many more tokens at each attempt, then no longer."""
    faulty = [Reply(text, fault=Fault(count, error), times=1, pace=0) for count in after_tokens]
    return [*faulty, Reply(text, pace=0)]


# Retries


@pytest.mark.parametrize("error", ["unavailable", "rate_limited", "drop"])
def test_a_failed_request_is_sent_again_after_a_while(error: FaultKind) -> None:
    backend = Scripted(dying(0, error=error))
    result = sequential(backend)
    assert (result.text, result.status) == (TEXT, "done")
    assert result.nodes[0].attempts == len(backend.requests) == 2
    assert backend.requests[1].context.messages() == backend.requests[0].context.messages()
    assert 0.125 <= result.duration <= 0.25


def test_waits_longer_each_time_and_gives_up_with_the_last_error() -> None:
    backend = Scripted([Reply("", fault=Fault(0, "unavailable"))])
    error = failing(backend, BackendUnavailable)
    assert len(backend.requests) == 4
    assert error.partial.status == "failed"
    assert error.partial.nodes[0].attempts == 4
    assert 0.125 + 0.25 + 0.5 <= error.partial.duration <= 0.25 + 0.5 + 1.0


def test_waits_as_long_as_the_engine_asks() -> None:
    backend = Scripted([Reply("", fault=Fault(0, "rate_limited", retry_after=30.0), times=1), Reply(TEXT)])
    assert sequential(backend).duration == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("fault", "error"), [("rejected", RequestRejected), ("context_too_long", ContextTooLong)]
)
@pytest.mark.parametrize("after_tokens", [0, 3])
def test_what_would_fail_again_is_not_sent_again(
    fault: FaultKind, error: type[BackendError], after_tokens: int
) -> None:
    backend = Scripted([Reply(TEXT, fault=Fault(after_tokens, fault))])
    raised = failing(backend, error)
    assert len(backend.requests) == 1
    assert raised.partial.text == "".join(PIECES[:after_tokens])


def test_backoff_doubles_is_jittered_and_bounded() -> None:
    retry = Retry(first=1.0, longest=8.0)
    error = BackendUnavailable("x")
    for failures, longest in enumerate([1.0, 2.0, 4.0, 8.0, 8.0], 1):
        delays = [retry.delay(failures, error) for _ in range(50)]
        assert longest / 2 <= min(delays) < max(delays) <= longest
    assert retry.delay(1, RateLimited("x", retry_after=99.0)) == 99.0
    assert retry.delay(20_000, error) <= 8.0


def test_an_error_of_ours_is_no_reason_to_try_again() -> None:
    def choose(_: Request) -> Reply:
        raise ZeroDivisionError

    backend = Scripted(choose)
    error = failing(backend, NodeError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert len(backend.requests) == 1


# Going on from the tokens already decoded


def rest(request: Request) -> str:
    """What an engine answers that can only be told to go on."""
    said = "".join(
        message["content"] for message in request.context.messages() if message["role"] == "assistant"
    )
    return TEXT.removeprefix(said)


@pytest.mark.parametrize("error", ["drop", "unavailable"])
@pytest.mark.parametrize("able", [FULL, PREFILL, NOTHING], ids=["full", "prefill", "nothing"])
@pytest.mark.parametrize("count", range(len(PIECES) + 1))
def test_a_stream_that_dies_after_any_token_loses_and_repeats_nothing(
    able: Capabilities, error: FaultKind, count: int
) -> None:
    fault = Fault(count, error)

    def choose(request: Request) -> Reply:
        return Reply(
            rest(request) if able is NOTHING else TEXT,
            fault=fault if len(backend.requests) == 1 else None,
            pace=0,
        )

    backend = Scripted(choose, capabilities=able)
    events: list[Any] = []

    async def run() -> Result:
        async with (
            no_leaks(backend),
            flowdecode.stream("Count.", backend=backend, strategy="sequential") as run,
        ):
            events.extend([event async for event in run])
            return await run.result()

    result = simulate(run())
    assert result.text == TEXT == result.nodes[0].text
    assert "".join(event.text for event in events if isinstance(event, AnswerDelta)) == TEXT
    assert "".join(event.text for event in events if isinstance(event, NodeDelta)) == TEXT
    assert result.usage.completion_tokens == len(PIECES)
    assert result.status == "done"
    assert len(backend.requests) == 2
    resumed = backend.requests[1].context
    said = "".join(PIECES[:count])
    if not count:
        assert resumed.messages() == backend.requests[0].context.messages()
    elif able is NOTHING:
        assert resumed.blocks()[-2:] == [Block("assistant", said), Block("user", CONTINUE)]
    else:
        tokens = TOKENS[:count] if able.token_ids else None
        assert resumed.block == Block("assistant", said, tokens)
    assert resumed.blocks()[0] == Block("user", "Count.")


@pytest.mark.parametrize("counts", [(1, 1, 1), (0, 0, 5), (2, 0, 3), (3, 4, 5)])
def test_a_stream_that_dies_again_and_again_goes_on_each_time(counts: tuple[int, ...]) -> None:
    backend = Scripted(dying(*counts))
    result = sequential(backend)
    assert result.text == TEXT
    said = [0, *(sum(counts[:attempt]) for attempt in (1, 2, 3))]
    tokens = [request.context.block.tokens or () for request in backend.requests]
    assert [len(each) for each in tokens] == said
    assert result.usage.completion_tokens == len(TOKENS)
    assert result.nodes[0].attempts == 4


def test_the_next_node_decodes_from_the_sampled_tokens_of_all_attempts() -> None:
    backend = Scripted([*dying(2, 3)[:-1], Reply(TEXT, match="Count"), Reply("Fine.", match="And now?")])

    async def run() -> None:
        async with flowdecode.connect(backend) as flow, flow.graph() as graph:
            first = graph.decode("Count.")
            graph.decode("And now?", after=first)

    simulate(run())
    assert backend.requests[-1].context.blocks() == [
        Block("user", "Count."),
        Block("assistant", TEXT, TOKENS),
        Block("user", "And now?"),
    ]


def test_an_engine_that_ends_a_request_by_itself_is_asked_to_go_on() -> None:
    """`abort` without our leaving is no end of an answer: an engine was shut down, or ran out of memory."""
    backend = Scripted([Reply("One two", finish_reason="abort", times=1), Reply("One two three.")])
    result = sequential(backend)
    assert (result.text, result.status, result.nodes[0].attempts) == ("One two three.", "done", 2)


class Stub:
    """A backend whose streams are given, delta by delta, the next one for each request."""

    def __init__(
        self,
        *streams: Iterable[Delta | Exception],
        usage: bool = True,
        leaving: float = 0.0,
        end: FinishReason = "stop",
    ) -> None:
        self.engine = Engine(model="stub", provider="stub", capabilities=FULL)
        self.streams = [list(stream) for stream in streams]
        self.usage = usage
        """Whether usage is known on the way, or only at the end."""
        self.leaving = leaving
        """Seconds until a request has ended that is left early."""
        self.end: FinishReason = end
        self.requests: list[Request] = []
        self.running = 0
        self.confirmed = 0
        """Requests that were left early and have ended."""

    async def __aenter__(self) -> Stub:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def decode(self, request: Request) -> StubDecoding:
        self.requests.append(request)
        return StubDecoding(self, self.streams[len(self.requests) - 1])

    def count_tokens(self, context: Context) -> int:
        return words.count(context)

    async def load(self) -> Load:
        return Load(self.running, 0)


class StubDecoding(AbstractAsyncContextManager["StubDecoding"]):
    def __init__(self, stub: Stub, stream: list[Delta | Exception]) -> None:
        self.stub = stub
        self.stream = stream
        self.finish_reason: FinishReason | None = None
        self.decoded = 0

    async def __aenter__(self) -> StubDecoding:
        self.stub.running += 1
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self.finish_reason is None and self.stub.leaving:
                await asyncio.sleep(self.stub.leaving)
                self.stub.confirmed += 1
        finally:
            self.stub.running -= 1

    @property
    def usage(self) -> Usage:
        known = self.stub.usage or self.finish_reason is not None
        return Usage(prompt_tokens=1, completion_tokens=self.decoded if known else 0)

    async def __aiter__(self) -> AsyncIterator[Delta]:
        for step in self.stream:
            await asyncio.sleep(0)
            if isinstance(step, Exception):
                raise step
            self.decoded += len(step.tokens)
            yield step
        self.finish_reason = self.stub.end


def test_tokens_whose_text_never_came_are_decoded_again() -> None:
    """Text lags behind where a character spans several tokens; what was cut off inside one is lost."""
    lost = BackendUnavailable("gone")
    backend = Stub(
        [Delta("", (1,)), lost],
        [Delta("", (1,)), Delta("é", (2,)), Delta("", (3,)), lost],
        [Delta("", (3,)), Delta("茶", (4,))],
    )
    result = sequential(backend)
    assert result.text == "é茶"
    assert [request.context.block for request in backend.requests] == [
        Block("user", "Count."),
        Block("user", "Count."),
        Block("assistant", "é", (1, 2)),
    ]
    assert result.usage.completion_tokens == 6


def test_empty_deltas_are_no_text() -> None:
    backend = Stub([Delta(""), Delta("", (1,)), Delta("a", (2,)), Delta("")])
    events: list[Any] = []

    async def run() -> None:
        async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:
            events.extend([event async for event in run])

    simulate(run())
    assert [event.text for event in events if isinstance(event, NodeDelta | AnswerDelta)] == ["a", "a"]


def test_a_stream_without_a_delta_is_an_empty_answer() -> None:
    result = sequential(Stub([]))
    assert (result.text, result.status, result.nodes[0].status) == ("", "done", "done")


# Limits


def test_an_answer_ends_at_its_limit() -> None:
    backend = Scripted([Reply(TEXT)])
    result = sequential(backend, max_tokens=3)
    assert result.text == "".join(PIECES[:3])
    assert (result.nodes[0].status, result.nodes[0].attempts) == ("truncated", 1)
    assert result.usage == Usage(
        prompt_tokens=result.usage.prompt_tokens, completion_tokens=3, cached_tokens=0
    )
    assert [request.sampling.max_tokens for request in backend.requests] == [3]


def test_a_limit_that_is_just_enough_is_no_truncation() -> None:
    result = sequential(Scripted([Reply(TEXT)]), max_tokens=len(TOKENS))
    assert (result.text, result.nodes[0].status) == (TEXT, "done")


def test_a_retry_gets_what_is_left_of_the_limit() -> None:
    backend = Scripted(dying(4))
    result = sequential(backend, max_tokens=6)
    assert result.text == "".join(PIECES[:6])
    assert [request.sampling.max_tokens for request in backend.requests] == [6, 2]
    assert result.nodes[0].status == "truncated"


def test_a_stream_that_dies_at_its_limit_is_complete() -> None:
    backend = Scripted(dying(6))
    result = sequential(backend, max_tokens=6)
    assert (result.text, result.nodes[0].status) == ("".join(PIECES[:6]), "truncated")
    assert len(backend.requests) == 1


@pytest.mark.parametrize("hints", [(1, 1, 1), (2, 50, 3), (100, 1, 1), (None, None, None)])
@pytest.mark.parametrize("width", [1, None])
def test_a_hint_is_no_limit_while_the_answer_has_tokens_left(
    hints: tuple[int | None, ...], width: int | None
) -> None:
    backend = Scripted([Reply(TEXT, pace=0)])
    parts = Parts(parts=tuple(Part(question=f"{i}?", expected_tokens=hint) for i, hint in enumerate(hints)))

    async def run() -> Result:
        return await flowdecode.run(
            "Count.", backend=backend, strategy=parts, max_tokens=3 * len(TOKENS), width=width
        )

    result = simulate(run())
    assert result.text == "\n".join([TEXT] * 3)
    assert [record.status for record in result.nodes] == ["done"] * 3
    assert result.usage.completion_tokens == 3 * len(TOKENS)


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 17, 29])
@pytest.mark.parametrize("width", [1, 2, None])
def test_the_parts_of_an_answer_never_exceed_its_limit(limit: int, width: int | None) -> None:
    backend = Scripted([Reply(TEXT, pace=0)])
    parts = Parts(parts=tuple(Part(question=f"{i}?", expected_tokens=5 * i) for i in range(3)))

    async def run() -> Result:
        async with no_leaks(backend):
            return await flowdecode.run(
                "Count.", backend=backend, strategy=parts, max_tokens=limit, width=width
            )

    result = simulate(run())
    assert result.usage.completion_tokens == limit
    assert all(TEXT.startswith(part) for part in result.text.split("\n"))
    assert {record.status for record in result.nodes} <= {"done", "truncated"}


def test_a_nodes_own_limit_holds_beside_the_answers() -> None:
    backend = Scripted([Reply(TEXT)])

    async def run() -> str:
        async with flowdecode.connect(backend) as flow, flow.graph() as graph:
            return await graph.decode("Count.", sampling={"max_tokens": 2})

    assert simulate(run()) == "".join(PIECES[:2])


def test_a_retry_gets_what_is_left_of_a_nodes_own_limit() -> None:
    backend = Scripted(dying(4))

    async def run() -> str:
        async with flowdecode.connect(backend) as flow, flow.graph() as graph:
            return await graph.decode("Count.", sampling={"max_tokens": 6})

    assert simulate(run()) == "".join(PIECES[:6])
    assert [request.sampling.max_tokens for request in backend.requests] == [6, 2]


def test_an_engine_that_can_decode_no_further_is_not_asked_again() -> None:
    """Its context is full before the limit is reached."""
    backend = Stub([Delta("a", (1,)), Delta("b", (2,))], end="length")
    result = sequential(backend, max_tokens=100)
    assert (result.text, result.nodes[0].status) == ("ab", "truncated")
    assert len(backend.requests) == 1


# Budgets


@pytest.mark.parametrize("known", [True, False])
def test_the_budget_counts_what_the_engine_tells_only_at_the_end(known: bool) -> None:
    stream = [Delta("a", (1,)), Delta("b", (2,))]
    backend = Stub(stream, stream, stream, usage=known)
    parts = Parts(parts=(Part(question="0?"), Part(question="1?"), Part(question="2?")))

    async def run() -> Result:
        return await flowdecode.run("Count.", backend=backend, strategy=parts, token_budget=3, width=1)

    result = simulate(run())
    assert result.status == "partial"
    assert len(backend.requests) == 2
    assert result.usage.completion_tokens == 4
    assert [request.sampling.max_tokens for request in backend.requests] == [3, 1]


# Deadlines


@pytest.mark.parametrize("error", ["hang", "unavailable"])
def test_a_nodes_deadline_covers_all_attempts(error: FaultKind) -> None:
    backend = Scripted([Reply(TEXT, fault=Fault(0, error, retry_after=10.0))])

    async def run() -> float:
        loop = asyncio.get_running_loop()
        async with no_leaks(backend), flowdecode.connect(backend) as flow:
            with pytest.raises(
                NodeError, match=r"Node 'slow' failed: .* within its timeout of 25 s"
            ) as raised:
                async with flow.graph() as graph:
                    graph.decode("Count.", id="slow", timeout=25.0)
        assert isinstance(raised.value.__cause__, TimeoutError)
        assert len(backend.aborted) == (error == "hang")
        return loop.time()

    assert simulate(run()) == pytest.approx(25.0)
    assert len(backend.requests) == (1 if error == "hang" else 3)


def test_a_timeout_of_the_engines_own_is_not_the_nodes() -> None:
    own = TimeoutError("the socket's")
    backend = Stub([Delta("a", (1,)), own])

    async def run() -> None:
        async with flowdecode.connect(backend) as flow, flow.graph() as graph:
            graph.decode("Count.", timeout=25.0)

    with pytest.raises(NodeError) as raised:
        simulate(run())
    assert raised.value.__cause__ is own


@pytest.mark.parametrize("end", ["left", "enough", "budget"])
def test_an_engine_is_given_the_time_to_end_a_request(end: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever makes us leave a stream early, and though the run is cancelled meanwhile."""
    backend = Stub([Delta("a", (1,))] * 90, leaving=2.0)

    async def run() -> float:
        loop = asyncio.get_running_loop()
        async with flowdecode.connect(backend) as flow:
            if end == "enough":
                with pytest.raises(asyncio.TimeoutError):
                    async with asyncio.timeout(1.0), flow.graph() as graph:
                        graph.add(
                            Decode(
                                context=lambda: Context.of([Block("user", "?")]),
                                sampling=SamplingParams(),
                                observe=lambda _, decoded: decoded == 3,
                            )
                        )
            else:
                budget = 2 if end == "budget" else None
                async with flow.stream("Count.", strategy="sequential", token_budget=budget) as run:
                    async for _ in run.text:
                        break
                    if end == "budget":
                        await asyncio.sleep(1.0)
                    assert backend.running == 1
            return loop.time()

    assert simulate(run()) == pytest.approx(2.0)
    assert (backend.running, backend.confirmed) == (0, 1)
    assert not caplog.records


def test_an_engine_that_never_confirms_an_abort_is_left_behind_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Stub([Delta("a", (1,))] * 100, leaving=1e9)

    async def run() -> float:
        async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:
            async for _ in run.text:
                break
        return asyncio.get_running_loop().time()

    assert simulate(run()) == pytest.approx(ABORT_DEADLINE)
    assert "did not confirm within 5 s" in caplog.text
    assert backend.running == 0


# What a request says


def test_a_request_says_what_the_user_said() -> None:
    backend = Scripted([Reply(TEXT)])
    sampling: dict[str, Any] = {
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 4,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "logit_bias": {7: 2.5},
        "stop": ["###"],
        "stop_token_ids": [2],
        "max_tokens": 50,
    }
    result = sequential(
        backend, system="Be brief.", chat_template_kwargs={"enable_thinking": False}, **sampling
    )
    request = backend.requests[0]
    assert request.sampling == SamplingParams.read(sampling)
    assert request.run_id == result.id
    assert request.context.chat_template_kwargs == {"enable_thinking": False}
    assert request.context.messages() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Count."},
    ]


def test_seeds_differ_by_node_and_repeat_by_run() -> None:
    def seeds() -> list[int | None]:
        backend = Scripted([Reply("x")])

        async def run() -> None:
            await flowdecode.run("Count.", backend=backend, strategy=Parts(parts=("a", "b", "c")), seed=7)

        simulate(run())
        return [request.sampling.seed for request in backend.requests]

    assert seeds() == seeds()
    assert len(set(seeds())) == 3
    assert derived_seed(7, "p0") in seeds()
    assert all(0 <= derived_seed(seed, "x") < 2**31 for seed in range(100))


def test_request_ids_are_no_prefixes_of_each_other() -> None:
    backend = Scripted([Reply("x")])

    async def run() -> None:
        async with flowdecode.connect(backend) as flow, flow.graph() as graph:
            for index in range(40):
                graph.decode(f"{index}?")

    simulate(run())
    ids = [request.id for request in backend.requests]
    assert len(set(ids)) == 40
    assert len({len(id) for id in ids}) == 1


@pytest.mark.parametrize("able", [FULL, NOTHING])
def test_an_engine_gets_only_what_it_honours(able: Capabilities) -> None:
    grammar = Grammar(ebnf='root ::= "x"', regex="x")
    backend = Scripted([Reply("x")], capabilities=able)

    async def run() -> None:
        async with flowdecode.connect(backend) as flow, flow.graph() as graph:
            graph.add(
                Decode(
                    context=lambda: Context.of([Block("user", "?")]),
                    sampling=SamplingParams(),
                    grammar=grammar,
                ),
                expected_tokens=30,
            )

    simulate(run())
    assert backend.requests[0].grammar == (grammar if able.grammar else None)
    assert backend.requests[0].priority == (30 if able.priority else 0)


def test_a_node_may_decode_elsewhere() -> None:
    here, there = Scripted([Reply("here")]), Scripted([Reply("there")])

    async def run() -> tuple[str, str]:
        async with no_leaks(here, there), flowdecode.connect(here) as flow, flow.graph() as graph:
            usual = graph.decode("Where?")
            other = graph.add(
                Decode(
                    context=lambda: Context.of([Block("user", "?")]),
                    sampling=SamplingParams(),
                    backend=there,
                )
            )
            return await usual, await other

    assert simulate(run()) == ("here", "there")


def test_a_decode_may_be_told_that_it_is_enough() -> None:
    backend = Scripted([Reply(TEXT, pace=0)])
    seen: list[tuple[str, int]] = []

    def observe(delta: Delta, decoded: int) -> bool:
        seen.append((delta.text, decoded))
        return decoded == 3

    async def run() -> Result:
        async with no_leaks(backend), flowdecode.connect(backend) as flow:
            async with flow.graph() as graph:
                node = graph.add(
                    Decode(
                        context=lambda: Context.of([Block("user", "?")]),
                        sampling=SamplingParams(),
                        observe=observe,
                    )
                )
            assert node.output == "".join(PIECES[:3])
            return graph.result

    result = simulate(run())
    assert seen == [(piece, number) for number, piece in enumerate(PIECES[:3], 1)]
    assert result.nodes[0].status == "done"
    assert len(backend.aborted) == 1


def test_a_huge_answer_arrives_whole() -> None:
    text = "word " * 30_000
    result = sequential(Scripted([Reply(text)]))
    assert result.text == text
    assert result.usage.completion_tokens == len(words.split(text))


def test_stops_at_a_stop_string() -> None:
    assert sequential(Scripted([Reply("One two ### three")]), stop="###").text == "One two "


def test_headers_are_those_of_the_trace() -> None:
    backend = Scripted([Reply("x")])
    sequential(backend)
    headers: Mapping[str, str] = backend.requests[0].headers
    assert "authorization" not in {name.lower() for name in headers}


def test_questions_reach_the_engine_as_they_were_asked() -> None:
    backend = Scripted([Reply("x")])

    async def run() -> None:
        await flowdecode.run("All.", backend=backend, strategy=Parts(parts=("a", "b\ud800", "ג")))

    simulate(run())
    assert [asked(request) for request in backend.requests] == ["a", "b\ud800", "ג"]
