"""Fork and join against one full forward pass with the mask that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.errors import RequestRejected
from flowdecode.sampling import SamplingParams
from tests.backends.local.models import FAMILIES, make_model, save

torch: Any = pytest.importorskip("torch")
local: Any = pytest.importorskip("flowdecode_backends.local.backend")
local_model: Any = pytest.importorskip("flowdecode_backends.local.model")
Pool: Any = pytest.importorskip("flowdecode_backends.local.pool").Pool
Thread: Any = pytest.importorskip("flowdecode_backends.local.thread").Thread

pytestmark = pytest.mark.anyio

_known: dict[str, tuple[Any, Any]] = {}


@pytest.fixture(params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any]:
    """A model over the pool, and the same with its own attention."""
    family: str = request.param
    if family not in _known:
        torch.set_num_threads(1)
        folder = str(save(tmp_path, family))
        _known[family] = (
            local_model.LanguageModel(local_model.Source(folder, device="cpu")),
            make_model(family),
        )
    return _known[family]


class Whole:
    """All tokens of a conversation of threads in one sequence, and which sees which."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.sees: list[set[int]] = []

    def add(self, token: int, position: int, sees: set[int]) -> None:
        """A token behind all others; `sees` is extended by it, as its thread sees it from now on."""
        sees.add(len(self.tokens))
        self.tokens.append(token)
        self.positions.append(position)
        self.sees.append(set(sees))

    def logits(self, model: Any) -> Any:
        """The logits behind every token, by the model's own attention."""
        size = len(self.tokens)
        positions = torch.tensor(self.positions)
        sees = torch.zeros(size, size, dtype=torch.bool)
        for row, seen in enumerate(self.sees):
            sees[row, list(seen)] = True
        lowest = torch.finfo(torch.float32).min
        mask = torch.where(sees, 0.0, lowest)[None, None]
        if window := getattr(model.config, "sliding_window", None):
            near = positions[:, None] - positions[None] < window
            sliding = torch.where(sees & near, 0.0, lowest)[None, None]
            kinds = {"full_attention": mask, "sliding_attention": sliding}
            mask = kinds if model.config.model_type == "gemma3_text" else sliding
        model.set_attn_implementation("eager")
        with torch.inference_mode():
            return model(
                input_ids=torch.tensor([self.tokens]),
                position_ids=positions[None],
                attention_mask=mask,
                use_cache=False,
            ).logits[0]


def step(model: Any, *threads: Any) -> Any:
    """Feed all that is pending; the logits behind each thread."""
    batch = model.new_step(threads[0].pool)
    feeds: list[int] = []
    for thread in threads:
        for other in thread.first():
            batch.feed(other, len(other.pending))
        feeds.append(batch.feed(thread, len(thread.pending)))
    return model.forward(batch, feeds)


def test_fork_and_join_are_one_forward_pass_with_their_mask(pair: tuple[Any, Any]) -> None:
    model, own = pair
    pool, whole = Pool(256, 8), Whole()
    prompt = [(7 * index) % 380 + 8 for index in range(23)]
    main, seen = Thread(pool), set[int]()
    main.say(prompt)
    logits = step(model, main)
    for position, token in enumerate(prompt):
        whole.add(token, position, seen)
    expected: list[tuple[int, Any]] = [(len(whole.tokens) - 1, logits[0])]

    main.say([30])  # the promise, forked from while it is still pending
    one = main.fork()
    one.say([31, 32])
    main.skip(10)
    two_token, position = 33, main.position
    taken = pool.free
    first = step(model, main, one)
    assert pool.free == taken - 3, "a fork copied or computed something anew"
    whole.add(30, 23, seen)
    one_seen = set(seen)
    expected.append((len(whole.tokens) - 1, first[0]))
    for token, at in ((31, 24), (32, 25)):
        whole.add(token, at, one_seen)
    expected.append((len(whole.tokens) - 1, first[1]))

    main.say([two_token])
    both = step(model, main)
    whole.add(two_token, position, seen)
    expected.append((len(whole.tokens) - 1, both[0]))
    for token in (34, 35, 36):
        one.say([token])
        main.say([token + 5])
        after = step(model, main, one)
        whole.add(token + 5, position + token - 33, seen)
        expected.append((len(whole.tokens) - 1, after[0]))
        whole.add(token, token - 8, one_seen)
        expected.append((len(whole.tokens) - 1, after[1]))

    one.say([37])  # sampled, and never fed before the join
    one.end()
    main.say([50])
    main.join(one)
    joined = step(model, main)
    whole.add(37, 29, one_seen)
    seen |= one_seen
    whole.add(50, position + 4, seen)
    expected.append((len(whole.tokens) - 1, joined[0]))

    truth = whole.logits(own)
    for index, logits in expected:
        assert float((truth[index] - logits).abs().max()) < 1e-4
    pool.give_back(main.close())
    pool.give_back(one.close())
    assert pool.free == 256
    assert pool.free_threads == 8


def request(text: str, max_tokens: int = 20) -> Request:
    return Request(
        id="r-",
        run_id="run",
        context=Context.of([Block("user", text)]),
        sampling=SamplingParams(temperature=0, max_tokens=max_tokens),
    )


@pytest.mark.parametrize("family", FAMILIES)
async def test_interleaved_strands_decode_what_one_forward_pass_says(family: str, tmp_path: Path) -> None:
    backend = local.Local(local.Source(str(save(tmp_path, family))), threads=1)
    strands: dict[str, Any] = {}
    starts: dict[str, int] = {}

    def steer(main: Any, token: int) -> None:
        said = len(main.tokens)
        if said in (3, 5):
            name = f"child of {said}"
            strands[name], starts[name] = main.fork([40 + said, 41], max_tokens=4 + said), main.position
            main.skip(6)
        elif said == 9:
            main.join(*strands.values())

    async with backend as entered:
        wanted = request("What is tea, and what is coffee?", max_tokens=16)
        said: dict[int, list[int]] = {0: [], 1: [], 2: []}
        async with entered.interleave(wanted, steer) as stream:
            async for piece in stream:
                said[piece.strand] += piece.delta.tokens
        prompt = entered._tokens.render(wanted.context)
        main = stream._job.main
        assert stream.usage.completion_tokens == len(main.tokens) + 7 + 9
        pool = entered.shared.pool
        assert pool.free + entered.shared._prefixes.tree.tokens == pool.slots

    whole, seen, position = Whole(), set[int](), len(prompt)
    samples: list[tuple[int, int]] = []
    for at, token in enumerate(prompt):
        whole.add(token, at, seen)
    children: list[set[int]] = []
    for count, token in enumerate(main.tokens, 1):
        samples.append((max(seen), token))
        if count == 9:
            for name, child in strands.items():
                child_seen, at = children[list(strands).index(name)], starts[name] + 2
                for said_token in child.tokens:
                    samples.append((max(child_seen), said_token))
                    whole.add(said_token, at, child_seen)
                    at += 1
            for child_seen in children:
                seen |= child_seen
        whole.add(token, position, seen)
        position += 1
        if count in (3, 5):
            assert starts[f"child of {count}"] == position
            assert strands[f"child of {count}"].before == (*prompt, *main.tokens[:count], 40 + count, 41)
            children.append(set(seen))
            for offset, first in enumerate((40 + count, 41)):
                whole.add(first, position + offset, children[-1])
            position += 6
    truth = whole.logits(make_model(family))
    for index, token in samples:
        assert float(truth[index].max() - truth[index, token]) < 1e-4


async def test_join_of_a_running_strand_waits_for_it(tmp_path: Path) -> None:
    backend = local.Local(local.Source(str(save(tmp_path, "llama"))), threads=1)
    asked: list[int] = []

    def watch(strand: Any, token: int) -> None:
        asked.append(strand.id)

    def steer(main: Any, token: int) -> None:
        watch(main, token)
        if len(main.tokens) == 2:
            main.fork([60, 70, 80], steer=watch, max_tokens=12)
        elif len(main.tokens) == 3:
            main.join(*main.job.strands[1:])

    async with backend as entered, entered.interleave(request("Tea?", max_tokens=6), steer) as stream:
        pieces = [piece async for piece in stream]
    assert [piece.strand for piece in pieces if piece.finish_reason] == [1, 0]
    child = len(stream._job.strands[1].tokens) - 1  # it is not asked about the token that ends it
    assert child > 0
    assert sorted(asked[: 3 + child]) == [0, 0, 0] + [1] * child


async def test_mistakes_of_a_steer_end_its_request_alone(tmp_path: Path) -> None:
    backend = local.Local(local.Source(str(save(tmp_path, "llama"))), threads=1)

    def fork_and_join_at_once(main: Any, token: int) -> None:
        main.join(main.fork([40]))

    def wait_for_itself(main: Any, token: int) -> None:
        main.join(main)

    async with backend as entered:
        for steer, message in ((fork_and_join_at_once, "later token"), (wait_for_itself, "each other")):
            async with entered.interleave(request("Tea?"), steer) as stream:
                with pytest.raises(RequestRejected, match=message):
                    [piece async for piece in stream]
        async with entered.decode(request("Tea?")) as other:
            assert [delta async for delta in other]
        assert entered.shared.pool.free_threads == 128
