"""Draws follow their distribution, cut and bent as asked, and repeat."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.sampling import SamplingParams

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")
sampler: Any = pytest.importorskip("flowdecode_backends.local.sampler")

WEIGHTS = (0.05, 0.4, 0.3, 0.2, 0.05)


def make(defaults: Any = None, before: tuple[int, ...] = (), **sampling: Any) -> Any:
    return sampler.Sampler(SamplingParams.read(sampling), defaults or sampler.Defaults(), before=before)


def drawn(count: int = 2000, **sampling: Any) -> Counter[int]:
    sampling = {"seed": 7, "temperature": 1.0, **sampling}
    one = make(**sampling)
    tokens: Counter[int] = Counter()
    for _ in range(count):
        tokens.update(sampler.draw(torch.tensor([WEIGHTS]).log(), [one]))
    return tokens


def test_draws_follow_the_distribution() -> None:
    counts = drawn()
    assert all(abs(counts[token] / 2000 - weight) < 0.04 for token, weight in enumerate(WEIGHTS))


@pytest.mark.parametrize(
    ("sampling", "left"),
    [
        ({"temperature": 0.0}, {1}),
        ({"top_k": 1}, {1}),
        ({"top_k": 2}, {1, 2}),
        ({"top_k": 10**12}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.5}, {1, 2}),
        ({"top_p": 0.0}, {1}),
        ({"min_p": 0.45}, {1, 2, 3}),
        ({"min_p": 1.0}, {1}),
        ({"top_k": 3, "top_p": 0.6}, {1, 2}),
        ({"temperature": 0.1}, {1, 2, 3}),
        ({"temperature": 1e-300}, {1}),
        ({"logit_bias": {1: -100, 2: -100}}, {0, 3, 4}),
        ({"logit_bias": {4: 100}}, {4}),
        ({"logit_bias": {4: 100}, "temperature": 0}, {4}),
    ],
)
def test_cuts_leave_the_likeliest(sampling: dict[str, Any], left: set[int]) -> None:
    counts = drawn(400, **sampling)
    assert set(counts) <= left
    if "logit_bias" not in sampling:
        assert counts.most_common(1)[0][0] == 1


def test_temperature_sharpens_and_flattens() -> None:
    assert drawn(temperature=0.5)[1] > drawn()[1] > drawn(temperature=3.0)[1]
    assert max(drawn(temperature=1e300).values()) < 500


@given(
    scores=st.lists(
        st.lists(st.integers(-999, 999), min_size=7, max_size=7, unique=True), min_size=1, max_size=4
    ),
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    top_k=st.none() | st.integers(2, 9),
    top_p=st.none() | st.sampled_from([0.2, 0.5, 0.9, 0.99]),
    min_p=st.none() | st.sampled_from([0.03, 0.3]),
    given=st.integers(1, 7),
)
def test_cuts_are_those_of_transformers(
    scores: list[list[int]],
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    given: int,
) -> None:
    logits = torch.tensor(scores, dtype=torch.float64) / 100
    theirs = transformers.TemperatureLogitsWarper(temperature)(None, logits)
    whole = theirs
    if top_k is not None:
        theirs = transformers.TopKLogitsWarper(top_k)(None, theirs)
    if top_p is not None:
        theirs = transformers.TopPLogitsWarper(top_p)(None, theirs)
    if min_p is not None:
        theirs = transformers.MinPLogitsWarper(min_p)(None, theirs)
    whole = whole - whole.amax(-1, keepdim=True)
    one = make(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    total = whole.exp().sum(-1, keepdim=True)
    largest, ids = whole.topk(given)
    weights, enough = sampler.kept(largest, total, 7, [one] * len(scores))
    shares = torch.zeros_like(logits).scatter(1, ids, weights / weights.sum(-1, keepdim=True))
    for row, is_enough in enumerate(enough):
        if is_enough:
            assert torch.allclose(shares[row], theirs[row].softmax(-1))
        else:
            assert given < 7
            assert top_k is None or top_k > given
    if given == 7:
        assert all(enough) or (top_k or 7) >= 7


@pytest.mark.parametrize("cut", [{"top_p": 0.9}, {"top_k": 2000}, {"min_p": 0.5}])
def test_cuts_behind_many_tokens_are_as_exact(cut: dict[str, Any]) -> None:
    logits = torch.linspace(1, 0, 5000)[torch.randperm(5000, generator=torch.Generator().manual_seed(0))]
    one = make(seed=1, temperature=1.0, **cut)
    tokens = [sampler.draw(logits[None].clone(), [one])[0] for _ in range(300)]
    order = logits.argsort(descending=True)
    shares = logits.softmax(0)[order].cumsum(0)
    last = {"top_p": int((shares < 0.9).sum()), "top_k": 1999, "min_p": int((logits - 1 >= -0.6932).sum())}
    ranks = [int((order == token).nonzero()) for token in tokens]
    assert 0.95 * last[next(iter(cut))] < max(ranks) <= last[next(iter(cut))]


def test_equal_seeds_repeat_and_others_differ() -> None:
    def draws(seed: int | None) -> list[int]:
        one = make(seed=seed, temperature=1.0)
        return [sampler.draw(torch.zeros(1, 1000), [one])[0] for _ in range(8)]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)
    assert draws(2**200) == draws(2**200)
    assert draws(None) != draws(None)


def test_a_row_is_drawn_alike_alone_and_among_others() -> None:
    torch.manual_seed(0)
    logits = 4 * torch.randn(6, 3000)
    kinds: list[dict[str, Any]] = [
        {"temperature": 1.0},
        {"temperature": 0.7, "top_k": 20},
        {"temperature": 0},
        {"temperature": 1.3, "top_p": 0.9},
        {"temperature": 1.0, "min_p": 0.1, "repetition_penalty": 1.3},
        {"temperature": 1.0, "logit_bias": {5: 8.0}, "top_p": 0.8, "top_k": 50},
    ]

    def all_of(indices: list[int]) -> dict[int, list[int]]:
        samplers = [make(before=(1, 2, 3), seed=index, **kinds[index]) for index in indices]
        draws = [sampler.draw(logits[indices].clone(), samplers) for _ in range(20)]
        return {index: [draw[row] for draw in draws] for row, index in enumerate(indices)}

    together = all_of([3, 0, 5, 2, 4, 1])
    for index in range(6):
        assert all_of([index])[index] == together[index]
    assert together[2] == [int(logits[2].argmax())] * 20


def test_repetition_penalty_is_that_of_transformers() -> None:
    logits = torch.tensor([[2.0, -1.0, 1.9, 0.5]])
    one = make(temperature=0, repetition_penalty=1.5, before=(0, 0, 1))
    bent = logits[0].clone()
    one.bend(bent)
    assert torch.allclose(bent, torch.tensor([2.0 / 1.5, -1.5, 1.9, 0.5]))
    (token,) = sampler.draw(logits.clone(), [one])
    assert token == 2
    one.accept(token)
    assert sampler.draw(logits.clone(), [one]) == [0]


def test_models_defaults_hold_where_a_request_does_not_say() -> None:
    defaults = sampler.Defaults(temperature=0.7, top_k=1, repetition_penalty=1.2)
    assert make(defaults).greedy
    assert not make(defaults, top_k=5).greedy
    assert make(defaults, top_k=5, temperature=0).greedy
    assert make().greedy
    assert make(defaults).bends
    assert not make(defaults, repetition_penalty=1.0).bends
    assert not make(logit_bias={}).bends


def test_what_a_generation_config_says_is_the_default() -> None:
    def read(**settings: Any) -> Any:
        config = transformers.GenerationConfig(**settings)
        return sampler.Defaults.of(config, ends=[3], device=torch.device("cpu"))

    assert read() == sampler.Defaults()
    assert read(do_sample=True) == sampler.Defaults(temperature=1.0)
    assert read(do_sample=True, temperature=0.6, top_p=0.9, top_k=20, min_p=0.1) == sampler.Defaults(
        temperature=0.6, top_p=0.9, top_k=20, min_p=0.1
    )
    assert read(temperature=0.6, repetition_penalty=1.05) == sampler.Defaults(repetition_penalty=1.05)
    defaults = read(bad_words_ids=[[1], [2, 0]], suppress_tokens=[4], no_repeat_ngram_size=2,
                    sequence_bias=[[[5], -1.0]])  # fmt: skip
    one = make(defaults, before=(5, 3, 2, 5))
    bent = torch.zeros(6)
    one.bend(bent)
    low = float("-inf")
    assert bent.tolist() == [low, low, 0, low, low, -1.0] or bent.tolist() == [0, low, 0, low, low, -1.0]


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), float("inf")])
def test_logits_that_are_no_numbers_spoil_no_other_row(value: float) -> None:
    logits = torch.zeros(2, 9)
    logits[0] = value
    logits[1, 4] = 100.0
    spoilt, well = sampler.draw(logits, [make(temperature=1.0, top_p=0.9, top_k=3, min_p=0.1)] * 2)
    assert 0 <= spoilt < 9
    assert well == 4
