"""What is sent to which engine."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.errors import RequestRejected
from flowdecode.sampling import SamplingParams
from flowdecode_backends.openai_http.dialect import DIALECTS, DialectName, request_body

NAMES: tuple[DialectName, ...] = get_args(DialectName)


def body(name: DialectName, *blocks: Block, template: dict[str, Any] | None = None, **sampling: Any) -> Any:
    context = Context.of(blocks or [Block("user", "Tea?")], template)
    asked = Request(id="r", run_id="run", context=context, sampling=SamplingParams(**sampling))
    return request_body(asked, "m", DIALECTS[name])


def test_every_dialect_has_its_name() -> None:
    assert {name: dialect.name for name, dialect in DIALECTS.items()} == {name: name for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_asked_is_not_sent(name: DialectName) -> None:
    assert set(body(name)) == {"model", "messages", "stream", "stream_options"}


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("openai", "max_completion_tokens"),
        ("sglang", "max_completion_tokens"),
        ("vllm", "max_completion_tokens"),
        ("other", "max_tokens"),
    ],
)
def test_the_limit_has_the_name_that_the_engine_knows(name: DialectName, limit: str) -> None:
    sent = body(name, max_tokens=3)
    assert {key: value for key, value in sent.items() if key.startswith("max")} == {limit: 3}


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_more_than_openai_s_parameters_go_where_they_are_known(name: DialectName) -> None:
    sent = body(name, template={"enable_thinking": False}, top_k=5, min_p=0.1, top_p=0.9)
    assert sent["extra_body"] == {
        "top_k": 5,
        "min_p": 0.1,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert sent["top_p"] == 0.9


@pytest.mark.parametrize("name", ["openai", "other"])
def test_they_are_refused_elsewhere_before_anything_is_sent(name: DialectName) -> None:
    with pytest.raises(RequestRejected, match=r"got `top_k`.*engine=vllm"):
        body(name, top_k=5)
    with pytest.raises(RequestRejected, match="got `chat_template_kwargs`"):
        body(name, template={"enable_thinking": False})


@pytest.mark.parametrize("name", NAMES)
def test_token_ids_bend_the_draws_and_end_nothing(name: DialectName) -> None:
    assert body(name, logit_bias={7: -100.0})["logit_bias"] == {"7": -100.0}
    with pytest.raises(RequestRejected, match="stop_token_ids"):
        body(name, stop_token_ids=(7,))


def test_an_assistant_s_text_is_continued_as_the_engine_has_it() -> None:
    blocks = Block("user", "Tea?"), Block("assistant", "A dr")
    assert body("sglang", *blocks)["extra_body"] == {"continue_final_message": True}
    assert body("vllm", *blocks)["extra_body"] == {
        "continue_final_message": True,
        "add_generation_prompt": False,
    }
    assert body("sglang", *blocks)["messages"][-1] == {"role": "assistant", "content": "A dr"}
    for name in ("openai", "other"):
        with pytest.raises(RequestRejected, match=r"assistant's turn.*prefill=true"):
            body(name, *blocks)


def test_a_finished_turn_is_not_continued() -> None:
    assert "extra_body" not in body("sglang", Block("assistant", "Tea."), Block("user", "And?"))


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("openai", None),
        ("other", None),
        ("sglang", {"no_stop_trim": True}),
        ("vllm", {"include_stop_str_in_output": True}),
    ],
)
def test_stop_strings_are_cut_here_where_the_engine_can_leave_them(name: DialectName, extra: Any) -> None:
    sent = body(name, stop=("a", "b"))
    assert sent["stop"] == ["a", "b"]
    assert sent.get("extra_body") == extra


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(RequestRejected, match="some text"):
        body("sglang", Block("system", ""), Block("user", ""))
