"""The engine decodes what `generate` decodes, whatever else it does at the time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowdecode.backend import Load, Request
from flowdecode.context import Block, Context
from flowdecode.errors import BackendError, BackendUnavailable, ContextTooLong, RequestRejected
from flowdecode.sampling import SamplingParams
from flowdecode_backends.local.prefixes import WORTH_SHARING
from tests.backends.local.models import FAMILIES, make_model, save

torch: Any = pytest.importorskip("torch")
local: Any = pytest.importorskip("flowdecode_backends.local.backend")

pytestmark = pytest.mark.anyio


class Served:
    """A model behind an engine of its own, beside the same model for `generate`."""

    def __init__(self, folder: Path, family: str, memory: int | None = None) -> None:
        torch.set_num_threads(1)
        self.reference = make_model(family)
        self.backend = local.Local(local.Source(str(save(folder, family))), memory=memory, threads=1)

    def greedy(self, prompt: tuple[int, ...], count: int, **settings: Any) -> tuple[int, ...]:
        """What `generate` says behind `prompt`, up to the end of the turn."""
        ids = torch.tensor([prompt])
        out = self.reference.generate(
            ids, max_new_tokens=count, do_sample=False, eos_token_id=3, pad_token_id=0, **settings
        )
        said = out[0, len(prompt) :].tolist()
        return tuple(said[: said.index(3)] if 3 in said else said)

    def prompt(self, context: Context) -> tuple[int, ...]:
        return tuple(self.backend._tokens.render(context))


_served: dict[str, Served] = {}


@pytest.fixture(params=FAMILIES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    family: str = request.param
    if family not in _served:
        _served[family] = Served(tmp_path_factory.mktemp(family), family)
    return _served[family]


@pytest.fixture
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """One of them, for what does not depend on the architecture."""
    if "qwen3" not in _served:
        _served["qwen3"] = Served(tmp_path_factory.mktemp("qwen3"), "qwen3")
    return _served["qwen3"]


@pytest.fixture
def llama(tmp_path: Path) -> Served:
    """An engine whose pool holds 200 tokens."""
    return Served(tmp_path, "llama", memory=200 * 768)


_ids = iter(range(10**6))


def ask(context: Context | str, *, run_id: str = "run", priority: int = 0, **sampling: Any) -> Request:
    if isinstance(context, str):
        context = Context.of([Block("user", context)])
    sampling = {"temperature": 0.0, "max_tokens": 20, **sampling}
    return Request(id=f"r{next(_ids)}-", run_id=run_id, context=context, priority=priority,
                   sampling=SamplingParams(**sampling))  # fmt: skip


async def decode(backend: Any, request: Request) -> tuple[tuple[int, ...], str, Any]:
    tokens: list[int] = []
    text = ""
    async with backend.decode(request) as stream:
        async for delta in stream:
            tokens += delta.tokens
            text += delta.text
    return tuple(tokens), text, stream


async def test_greedy_is_what_generate_says(served: Served) -> None:
    async with served.backend as backend:
        request = ask("What is tea? " * 9)
        tokens, text, stream = await decode(backend, request)
        assert tokens == served.greedy(served.prompt(request.context), 20)
        assert text == backend._tokens.decode(tokens)
        assert stream.usage.prompt_tokens == len(served.prompt(request.context))


async def test_greedy_in_a_batch_of_16(served: Served) -> None:
    async with served.backend as backend:
        requests = [ask(f"Tell me about tea number {number}. " * (1 + number % 5)) for number in range(16)]
        before = backend.shared.steps
        answers = await asyncio.gather(*(decode(backend, request) for request in requests))
        for request, (tokens, _, _) in zip(requests, answers, strict=True):
            assert tokens == served.greedy(served.prompt(request.context), 20)
        assert backend.shared.steps - before < 60


async def test_greedy_through_the_prefix_cache(served: Served) -> None:
    async with served.backend as backend:
        context = Context.of([Block("user", "Compare tea and coffee, at length. " * 4)])
        tokens, text, _ = await decode(backend, ask(context))
        longer = context.extend(Block("assistant", text, tokens), Block("user", "And cocoa?"))
        prompt = served.prompt(longer)
        again, _, stream = await decode(backend, ask(longer))
        assert stream.usage.cached_tokens >= len(served.prompt(context)) + len(tokens) - 1
        assert again == served.greedy(prompt, 20)


async def test_a_prefix_that_is_shorter_than_it_is_worth_is_computed_again(tiny: Served) -> None:
    async with tiny.backend as backend:
        head = backend.count_tokens(Context.of([Block("user", "", ())]))
        for length, known in ((WORTH_SHARING - 1, 0), (WORTH_SHARING, WORTH_SHARING)):
            shared = Block("user", "", tuple(range(20 + length, 20 + 2 * length - head)))
            one, other = (Context.of([shared, Block("user", "", (last,))]) for last in (30, 31))
            await decode(backend, ask(one, max_tokens=2))
            _, _, stream = await decode(backend, ask(other, max_tokens=2))
            assert stream.usage.cached_tokens == known


async def test_token_decoded_by_a_running_request_is_found_in_the_cache(tiny: Served) -> None:
    async with tiny.backend as backend:
        context = Context.of([Block("user", "Write about tea while others listen.")])
        async with backend.decode(ask(context, max_tokens=300)) as stream:
            tokens: list[int] = []
            text = ""
            async for delta in stream:
                tokens += delta.tokens
                text += delta.text
                if len(tokens) > 12:
                    break
            longer = context.extend(Block("assistant", text, tuple(tokens)), Block("user", "Go on."))
            _, _, other = await decode(backend, ask(longer))
            assert other.usage.cached_tokens >= len(tiny.prompt(context)) + len(tokens) - 1
        assert stream.finish_reason == "abort"


async def test_greedy_after_eviction(llama: Served) -> None:
    async with llama.backend as backend:
        context = Context.of([Block("user", "What is tea? " * 4)])
        first, _, _ = await decode(backend, ask(context, max_tokens=8))
        for number in range(5):
            await decode(backend, ask(f"{number}: something else, and long enough to need room. " * 2))
        again, _, stream = await decode(backend, ask(context, max_tokens=8))
        assert stream.usage.cached_tokens < len(llama.prompt(context)) - 1
        assert again == first == llama.greedy(llama.prompt(context), 8)


async def test_requests_that_outgrow_the_pool_are_put_back_and_end_well(llama: Served) -> None:
    async with llama.backend as backend:
        requests = [ask(f"{number} is a number of tea leaves.", run_id=f"{number}", max_tokens=60)
                    for number in range(6)]  # fmt: skip
        answers = await asyncio.gather(*(decode(backend, request) for request in requests))
        for request, (tokens, _, stream) in zip(requests, answers, strict=True):
            assert tokens == llama.greedy(llama.prompt(request.context), 60)
            assert stream.usage.completion_tokens <= 60
        engine = backend.shared
        assert engine.pool.free + engine._prefixes.tree.tokens == engine.pool.slots
        assert engine._prefixes.tree.locked == 0
        assert engine.pool.free_threads == 128


async def test_context_longer_than_the_pool_is_refused(llama: Served) -> None:
    async with llama.backend as backend:
        with pytest.raises(ContextTooLong, match="Expected at most 200 tokens"):
            await decode(backend, ask("tea leaf? " * 150))
        with pytest.raises(ContextTooLong, match="in the prompt and `max_tokens`"):
            await decode(backend, ask("tea", max_tokens=200))
        tokens, _, stream = await decode(backend, ask("tea", max_tokens=None))
        assert stream.finish_reason in ("length", "stop")
        assert len(tokens) <= 200


async def test_ids_of_another_model_are_refused(llama: Served) -> None:
    context = Context.of([Block("user", "Tea?"), Block("assistant", "x", (400,))])
    async with llama.backend as backend:
        with pytest.raises(RequestRejected, match="Expected token ids below 400, got 400"):
            await decode(backend, ask(context))
        with pytest.raises(RequestRejected, match="at least one token"):
            await decode(backend, ask(""))


async def test_cold_siblings_wait_for_the_first_ones_prefix(tiny: Served) -> None:
    async with tiny.backend as backend:
        head = Context.of([Block("user", "A head that all of them share. " * 12)])
        siblings = [head.extend(Block("user", f"Part {number}.")) for number in range(6)]
        answers = await asyncio.gather(*(decode(backend, ask(sibling)) for sibling in siblings))
        shared = tiny.backend._tokens.count(head)
        cached = sorted(stream.usage.cached_tokens for _, _, stream in answers)
        assert cached[0] < shared
        assert cached[1] >= shared
        for sibling, (tokens, _, _) in zip(siblings, answers, strict=True):
            assert tokens == tiny.greedy(tiny.prompt(sibling), 20)


async def test_leaving_a_stream_ends_its_request_and_no_other(tiny: Served) -> None:
    async with tiny.backend as backend:
        other = asyncio.create_task(decode(backend, ask("Another one.", max_tokens=40)))
        async with backend.decode(ask("One that is left.", max_tokens=600)) as stream:
            async for _ in stream:
                break
        assert stream.finish_reason == "abort"
        assert 1 <= stream.usage.completion_tokens < 600
        assert (await backend.load()).running <= 1
        await other
        assert await backend.load() == Load(0, 0)


async def test_what_there_is_room_for_does_not_wait(tiny: Served) -> None:
    """One that the step thread has not looked at yet, or that a prefix is computed for, has its place."""
    async with tiny.backend as backend:
        others = [asyncio.create_task(decode(backend, ask(f"Number {n}.", max_tokens=30))) for n in range(3)]
        seen = list[Load]()
        while not all(task.done() for task in others):
            seen.append(await backend.load())
            await asyncio.sleep(0)
        await asyncio.gather(*others)
    assert {load.waiting for load in seen} == {0}
    assert max(load.running for load in seen) == 3


async def test_event_loop_turns_between_steps(tiny: Served) -> None:
    async with tiny.backend as backend:
        turns, before = 0, backend.shared.steps

        async def turn() -> None:
            nonlocal turns
            while True:
                await anyio.sleep(0.001)
                turns += 1

        ticking = asyncio.create_task(turn())
        await decode(backend, ask("Write something long about tea.", max_tokens=200))
        ticking.cancel()
        assert turns > 0.2 * (backend.shared.steps - before)


async def test_seed_repeats_whatever_else_is_in_the_batch(tiny: Served) -> None:
    async with tiny.backend as backend:

        def seeded(seed: int) -> Request:
            return ask("Surprise me.", temperature=1.0, top_p=0.95, seed=seed, max_tokens=30)

        alone, _, _ = await decode(backend, seeded(1))
        others = [ask(f"Noise {number}.", temperature=1.5) for number in range(5)]
        among, other, *_ = await asyncio.gather(
            *(decode(backend, request) for request in (seeded(1), seeded(2), *others))
        )
        assert among[0] == alone
        assert other[0] != alone


async def test_stop_string_ends_an_answer(tiny: Served) -> None:
    async with tiny.backend as backend:
        _, text, _ = await decode(backend, ask("What is tea?"))
        assert len(text) > 6
        stop = text[4:6]
        cut, shown, stream = await decode(backend, ask("What is tea?", stop=(stop,)))
        assert shown == text[: text.index(stop)]
        assert stream.finish_reason == "stop"
        assert backend._tokens.decode(cut) == shown


async def test_repetition_penalty_and_bias_are_those_of_generate(served: Served) -> None:
    async with served.backend as backend:
        request = ask("Repeat tea, tea, tea.", repetition_penalty=1.4, logit_bias={50: 3.0, 60: -2.5})
        prompt = served.prompt(request.context)
        expected = served.greedy(
            prompt, 20, repetition_penalty=1.4, sequence_bias=[[[50], 3.0], [[60], -2.5]]
        )
        others = [ask(f"Beside it, number {number}.") for number in range(3)]
        answers = await asyncio.gather(*(decode(backend, one) for one in (request, *others)))
        assert answers[0][0] == expected
        assert expected != served.greedy(prompt, 20)
        for other, (tokens, _, _) in zip(others, answers[1:], strict=True):
            assert tokens == served.greedy(served.prompt(other.context), 20)


async def test_stop_ids_end_an_answer_and_are_no_part_of_it(tiny: Served) -> None:
    async with tiny.backend as backend:
        tokens, _, _ = await decode(backend, ask("What is tea?"))
        end = tokens[4]
        before = tokens[: tokens.index(end)]
        cut, text, stream = await decode(backend, ask("What is tea?", stop_token_ids=(end, 399)))
        assert (cut, text) == (before, backend._tokens.decode(before))
        assert stream.finish_reason == "stop"
        assert stream.usage.completion_tokens == len(before) + 1


@pytest.mark.parametrize("sampling", [{"logit_bias": {400: 1.0}}, {"stop_token_ids": (5, 10**12)}])
async def test_ids_beyond_the_vocabulary_are_refused(tiny: Served, sampling: dict[str, Any]) -> None:
    async with tiny.backend as backend:
        with pytest.raises(RequestRejected, match=r"Expected token ids below 400, got (400|1,000)"):
            await decode(backend, ask("Tea?", **sampling))


async def test_assistants_answer_is_continued(tiny: Served) -> None:
    async with tiny.backend as backend:
        context = Context.of([Block("user", "What is tea, in short?")])
        tokens, _, _ = await decode(backend, ask(context, max_tokens=12))
        begun = context.extend(Block("assistant", backend._tokens.decode(tokens[:5]), tokens[:5]))
        rest, _, _ = await decode(backend, ask(begun, max_tokens=7))
        assert tokens[:5] + rest == tokens


async def test_runs_share_the_batch_fairly(llama: Served) -> None:
    """One run's many requests do not keep another's out, and the highest priority of a run goes first."""
    async with llama.backend as backend:
        ended: list[str] = []

        async def timed(name: str, request: Request) -> None:
            await decode(backend, request)
            ended.append(name)

        # 200 slots hold about four of these at a time.
        def leaf(name: str, run_id: str, priority: int) -> Any:
            request = ask(f"{name} is a leaf in a pot.", run_id=run_id, max_tokens=24, priority=priority)
            return timed(name, request)

        many = [leaf(f"a{number}", "a", number) for number in range(9)]
        await asyncio.gather(*many, leaf("b", "b", 0))
        assert ended.index("b") < 6
        assert ended.index("a8") < ended.index("a0")


def test_engine_is_shared_by_loops_and_clients(tiny: Served) -> None:
    async def use() -> Any:
        again = local.Local(local.Source(tiny.backend.source.path, "float32", "cpu"))
        async with again as backend:
            await decode(backend, ask("From another loop."))
            return backend.shared

    engine = asyncio.run(use())
    assert asyncio.run(use()) is engine


async def test_step_that_fails_ends_its_requests_and_not_the_engine(llama: Served) -> None:
    def fails(*_: object) -> Any:
        raise ZeroDivisionError("division by zero")

    async with llama.backend as backend:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend.shared.model, "forward", fails)
            with pytest.raises(BackendError, match="A step of the local engine failed: division by zero"):
                await decode(backend, ask("Tea?"))
        request = ask("Tea?")
        tokens, _, _ = await decode(backend, request)
        assert tokens == llama.greedy(llama.prompt(request.context), 20)


async def test_stopped_engine_refuses_and_leaves_no_thread(llama: Served) -> None:
    async with llama.backend as backend:
        engine = backend.shared
        async with backend.decode(ask("Tell me all about tea.", max_tokens=150)) as stream:
            await anext(stream)
            await asyncio.to_thread(engine.stop)
            with pytest.raises(BackendUnavailable, match="stopped while the request ran"):
                [delta async for delta in stream]
        assert not engine._thread.is_alive()
        with pytest.raises(BackendUnavailable, match="was stopped"):
            await decode(backend, ask("Tea?"))
