"""Draws follow their distribution, cut as asked, and repeat."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from flowdecode.sampling import SamplingParams

torch: Any = pytest.importorskip("torch")
sampler: Any = pytest.importorskip("flowdecode_backends.local.sampler")

WEIGHTS = (0.05, 0.4, 0.3, 0.2, 0.05)


def drawn(count: int = 2000, **sampling: Any) -> Counter[int]:
    logits = torch.tensor(WEIGHTS).log()
    params = SamplingParams.read({"seed": 7, "temperature": 1.0, **sampling})
    one = sampler.Sampler(params, sampler.Defaults())
    return Counter(one.draw(logits) for _ in range(count))


def test_draws_follow_the_distribution() -> None:
    counts = drawn()
    assert all(abs(counts[token] / 2000 - weight) < 0.04 for token, weight in enumerate(WEIGHTS))


@pytest.mark.parametrize(
    ("sampling", "left"),
    [
        ({"temperature": 0.0}, {1}),
        ({"top_k": 1}, {1}),
        ({"top_k": 2}, {1, 2}),
        ({"top_p": 0.5}, {1, 2}),
        ({"top_p": 0.0}, {1}),
        ({"min_p": 0.45}, {1, 2, 3}),
        ({"min_p": 1.0}, {1}),
        ({"top_k": 3, "top_p": 0.6}, {1, 2}),
        ({"temperature": 0.1}, {1, 2, 3}),
    ],
)
def test_cuts_leave_the_likeliest(sampling: dict[str, Any], left: set[int]) -> None:
    assert set(drawn(400, **sampling)) <= left
    assert drawn(50, **sampling).most_common(1)[0][0] == 1


def test_temperature_sharpens_and_flattens() -> None:
    assert drawn(temperature=0.5)[1] > drawn()[1] > drawn(temperature=3.0)[1]


def test_equal_seeds_repeat_and_others_differ() -> None:
    logits = torch.zeros(1000)

    def draws(seed: int | None) -> list[int]:
        params = SamplingParams(seed=seed, temperature=1.0)
        one = sampler.Sampler(params, sampler.Defaults())
        return [one.draw(logits) for _ in range(8)]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)
    assert draws(None) != draws(None)


def test_models_defaults_hold_where_a_request_does_not_say() -> None:
    defaults = sampler.Defaults(temperature=0.7, top_k=1)
    assert sampler.Sampler(SamplingParams(), defaults).greedy
    assert not sampler.Sampler(SamplingParams(top_k=5), defaults).greedy
    assert sampler.Sampler(SamplingParams(top_k=5, temperature=0), defaults).greedy
    assert sampler.Sampler(SamplingParams(), sampler.Defaults()).greedy
