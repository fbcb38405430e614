"""What is refused before anything is sent, and in which words."""

from __future__ import annotations

import pytest

from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.errors import ContextTooLong, RequestRejected
from flowdecode.sampling import SamplingParams
from flowdecode_backends.sglang_client.guards import check_prompt, check_sampling


def request(text: str = "What is tea?", max_tokens: int | None = None) -> Request:
    sampling = SamplingParams(max_tokens=max_tokens)
    return Request(id="r", run_id="run", context=Context.of([Block("user", text)]), sampling=sampling)


@pytest.mark.parametrize(("text", "prompt"), [("", [1, 2]), ("What is tea?", [])])
def test_an_empty_prompt_is_refused(text: str, prompt: list[int]) -> None:
    with pytest.raises(RequestRejected, match="at least one token, got none - at request 'r'"):
        check_prompt(request(text), prompt, vocabulary=None, context_length=None)


@pytest.mark.parametrize("bad", [400, -1])
def test_ids_outside_the_vocabulary_are_refused(bad: int) -> None:
    with pytest.raises(RequestRejected, match=f"from 0 to 399, got {bad} .*another model"):
        check_prompt(request(), [1, bad], vocabulary=400, context_length=None)
    check_prompt(request(), [0, 399], vocabulary=400, context_length=None)


def test_a_context_that_is_too_long_is_refused() -> None:
    with pytest.raises(ContextTooLong, match="at most 10 tokens, got 11 in the prompt and one token"):
        check_prompt(request(), [1] * 10, vocabulary=None, context_length=10)
    with pytest.raises(ContextTooLong, match="at most 10 tokens, got 12 in the prompt and `max_tokens`"):
        check_prompt(request(max_tokens=3), [1] * 9, vocabulary=None, context_length=10)
    with pytest.raises(ContextTooLong, match="at most 5 tokens, got 9 in the prompt"):
        check_prompt(request(), [1] * 9, vocabulary=None, context_length=10, longest_prompt=5)
    check_prompt(request(max_tokens=1), [1] * 9, vocabulary=None, context_length=10, longest_prompt=9)


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (SamplingParams(temperature=float("inf")), "finite number, got inf - at `temperature`"),
        (SamplingParams(top_p=0.0), "more than 0, got 0.0 - at `top_p`"),
        (SamplingParams(repetition_penalty=2.5), "at most 2.0, got 2.5 - at `repetition_penalty`"),
        (SamplingParams(seed=1 << 63, temperature=0), "below 2\\*\\*63"),
        (SamplingParams(seed=1), "no seed, got 1.*--enable-deterministic-inference"),
        (SamplingParams(logit_bias={400: 1.0}), "from 0 to 399, got 400 - at `logit_bias`"),
        (SamplingParams(stop_token_ids=(7, 400)), "from 0 to 399, got 400 - at `stop_token_ids`"),
        (SamplingParams(stop=tuple(map(str, range(33)))), "at most 32 stop strings, got 33"),
    ],
)
def test_sampling_out_of_range_is_refused(sampling: SamplingParams, said: str) -> None:
    with pytest.raises(RequestRejected, match=said):
        check_sampling(sampling, vocabulary=400, seeds=False)


def test_what_sglang_takes_passes() -> None:
    all_of_it = SamplingParams(
        temperature=0.7,
        top_p=1.0,
        top_k=1,
        min_p=0.0,
        repetition_penalty=2.0,
        logit_bias={399: -100.0},
        stop=("x",) * 32,
        stop_token_ids=(0,),
        seed=1,
    )
    check_sampling(all_of_it, vocabulary=400, seeds=True)
    check_sampling(SamplingParams(seed=1, temperature=0), vocabulary=400, seeds=False)


def test_what_a_gateway_leaves_out_is_refused() -> None:
    biased = SamplingParams(logit_bias={7: -100.0})
    check_sampling(biased, vocabulary=400, seeds=True)
    with pytest.raises(RequestRejected, match="gateway leaves it out"):
        check_sampling(biased, vocabulary=400, seeds=True, gateway=True)
