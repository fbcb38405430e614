"""Dialects: what the engines that serve OpenAI's chat completions API take beyond it, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from flowdecode.backend import Request
from flowdecode.errors import RequestRejected
from flowdecode_backends import words

__all__ = ["DIALECTS", "Dialect", "DialectName", "request_body"]

DialectName = Literal["openai", "sglang", "vllm", "other"]


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one engine is spoken to."""

    name: DialectName
    provider: str = "openai"
    """The value of `gen_ai.provider.name`."""
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_completion_tokens"
    """What the bound on decoded tokens is called."""
    extends: bool = False
    """Whether it takes more than OpenAI's parameters, and counts tokens as it goes."""
    prefill: bool = False
    """Whether it goes on with an assistant's message that is the last one."""
    prefill_fields: Mapping[str, bool] = {}
    """What must be said for that."""
    keep_stop: str | None = None
    """The field that leaves stop strings in the text, to be cut here.

    An engine that cuts them itself may have streamed the first half of one by then.
    """


DIALECTS: Mapping[DialectName, Dialect] = {
    "openai": Dialect(name="openai"),
    "sglang": Dialect(
        name="sglang",
        provider="sglang",
        extends=True,
        prefill=True,
        prefill_fields={"continue_final_message": True},
        keep_stop="no_stop_trim",
    ),
    "vllm": Dialect(
        name="vllm",
        provider="vllm",
        extends=True,
        prefill=True,
        prefill_fields={"continue_final_message": True, "add_generation_prompt": False},
        keep_stop="include_stop_str_in_output",
    ),
    # What every server of the API has known from its beginning.
    "other": Dialect(name="other", limit="max_tokens"),
}
"""An engine that says of itself which one it is, in `/models`, is spoken to in its own dialect."""


def request_body(request: Request, model: str, dialect: Dialect) -> dict[str, Any]:
    """The fields of a streamed chat completion; those beyond OpenAI's API are in `extra_body`.

    Raises RequestRejected for what the engine is not known to take: left out silently, it would
    answer something else than was asked.
    """
    context, sampling = request.context, request.sampling
    extra: dict[str, Any] = {
        name: value
        for name, value in (
            ("top_k", sampling.top_k),
            ("min_p", sampling.min_p),
            ("repetition_penalty", sampling.repetition_penalty),
            ("chat_template_kwargs", context.chat_template_kwargs),
        )
        if value is not None
    }
    if sampling.stop_token_ids:
        raise RequestRejected(
            "Expected stop strings, got `stop_token_ids`: OpenAI's API knows no token ids. "
            "Use `stop`, or an engine that is spoken to in token ids, such as `sglang://`."
        )
    if extra and not dialect.extends:
        raise RequestRejected(
            f"Expected parameters of OpenAI's own API, got `{next(iter(extra))}`, which this engine is not "
            "known to take. Leave it out, or name the engine in the URL: `engine=sglang` or `engine=vllm`."
        )
    if not words.has_words(context):
        raise RequestRejected(f"Expected a prompt with some text, got none - at request {request.id!r}.")
    if context.block.role == "assistant":
        if not dialect.prefill:
            raise RequestRejected(
                "Expected a context that does not end with the assistant's turn "
                f"- at request {request.id!r}. The engine is not known to continue an answer; "
                "if it does, say `prefill=true` in the URL."
            )
        extra |= dialect.prefill_fields
    if sampling.stop and dialect.keep_stop is not None:
        extra[dialect.keep_stop] = True
    usage = {"include_usage": True}
    if dialect.extends:
        usage["continuous_usage_stats"] = True
    fields: dict[str, Any] = {
        "model": model,
        "messages": context.messages(),
        "stream": True,
        "stream_options": usage,
        dialect.limit: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "logit_bias": {str(token): bias for token, bias in sampling.logit_bias.items()} or None,
        "stop": list(sampling.stop) or None,
        "seed": sampling.seed,
        "extra_body": extra or None,
        "extra_headers": dict(request.headers) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
