"""Sampling keywords and their checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from flowdecode.errors import ConfigurationError
from flowdecode.sampling import Sampling, SamplingParams


def test_nothing_is_the_default_of_the_model() -> None:
    assert SamplingParams.read({}) == SamplingParams()


def test_none_is_the_default_of_the_model() -> None:
    everything = dict.fromkeys(Sampling.__annotations__)
    assert SamplingParams.read(everything) == SamplingParams()


def test_reads_every_keyword() -> None:
    sampling: Sampling = {
        "max_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 3,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "logit_bias": {5: -100, 6: 1.5},
        "stop": ["a", "b"],
        "stop_token_ids": [2, 3],
        "seed": 7,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert SamplingParams.read(sampling) == SamplingParams(
        max_tokens=5,
        temperature=0,
        top_p=0.5,
        top_k=3,
        min_p=0.1,
        repetition_penalty=1.1,
        logit_bias={5: -100.0, 6: 1.5},
        stop=("a", "b"),
        stop_token_ids=(2, 3),
        seed=7,
    )


@pytest.mark.parametrize("stop", ["###", ["###"], ("###",)])
def test_one_stop_string_or_several(stop: Any) -> None:
    assert SamplingParams.read({"stop": stop}).stop == ("###",)


def test_the_given_keywords_stay_as_they_are() -> None:
    sampling: Sampling = {"stop": "a", "seed": 1}
    SamplingParams.read(sampling)
    assert sampling == {"stop": "a", "seed": 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("top_k", 0),
        ("min_p", -1),
        ("min_p", 2),
        ("seed", -1),
        ("stop", ["a", ""]),
        ("repetition_penalty", 0),
        ("repetition_penalty", -1.0),
        ("repetition_penalty", math.inf),
        ("repetition_penalty", math.nan),
        ("logit_bias", {-1: 0.0}),
        ("logit_bias", {1: 100.5}),
        ("logit_bias", {1: -math.inf}),
        ("logit_bias", {1: math.nan}),
        ("stop_token_ids", [1, -1]),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^Expected .*, got .* - at `{name}`"):
        SamplingParams.read({name: value})


def test_an_empty_stop_string_is_none() -> None:
    assert SamplingParams.read({"stop": ""}).stop == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 1.5),
        ("max_tokens", "5"),
        ("temperature", "hot"),
        ("stop", 5),
        ("stop", [1]),
        ("stop", b"x"),
        ("seed", "x"),
        ("repetition_penalty", "much"),
        ("logit_bias", [5]),
        ("logit_bias", {"5": 1.0}),
        ("logit_bias", {5: None}),
        ("stop_token_ids", 5),
        ("stop_token_ids", "5"),
        ("stop_token_ids", [1.5]),
        ("stop_token_ids", [True]),
    ],
)
def test_a_value_of_a_wrong_type_is_a_configuration_error(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="sampling"):
        SamplingParams.read({name: value})


def test_an_unknown_keyword_lists_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match=r"Expected one of max_tokens, .*got `topp`"):
        SamplingParams.read({"topp": 0.5})


def test_an_unknown_keyword_is_refused_without_a_value_too() -> None:
    with pytest.raises(ConfigurationError, match="got `topp`"):
        SamplingParams.read({"topp": None})


@pytest.mark.parametrize("bias", [{}, MappingProxyType({5: 1.0})])
def test_any_mapping_is_a_bias(bias: Mapping[int, float]) -> None:
    assert SamplingParams.read({"logit_bias": bias}).logit_bias == bias
