"""The GenAI conventions of OpenTelemetry, v1.41.0: names, shapes and settings; and flowdecode's own names."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue

    from flowdecode.backend import Engine, FinishReason
    from flowdecode.context import Context
    from flowdecode.sampling import SamplingParams
    from flowdecode.usage import Usage

__all__ = [
    "CAPTURE_MESSAGE_CONTENT",
    "CHAT",
    "DURATION",
    "ERROR_TYPE",
    "FINISH_REASONS",
    "INFERENCE_DETAILS",
    "INPUT_MESSAGES",
    "INVOKE_WORKFLOW",
    "NODE_EXPECTED_CACHED_TOKENS",
    "NODE_ID",
    "NODE_PARENTS",
    "NODE_TITLE",
    "OPERATION_NAME",
    "OUTPUT_MESSAGES",
    "PLAN_SPAN",
    "PROVIDER_NAME",
    "REQUEST_ATTEMPT",
    "REQUEST_MAX_TOKENS",
    "REQUEST_MODEL",
    "REQUEST_SEED",
    "REQUEST_STOP_SEQUENCES",
    "REQUEST_STREAM",
    "REQUEST_TEMPERATURE",
    "REQUEST_TOP_P",
    "RESENT",
    "RESPONSE_MODEL",
    "RESPONSE_TIME_TO_FIRST_CHUNK",
    "RUN_ID",
    "RUN_STATUS",
    "SCHEMA_URL",
    "SECONDS_BUCKETS",
    "SERVER_ADDRESS",
    "SERVER_PORT",
    "STRATEGY",
    "TIME_TO_FIRST_CHUNK",
    "TOKEN_BUCKETS",
    "TOKEN_TYPE",
    "TOKEN_USAGE",
    "USAGE_CACHE_READ_INPUT_TOKENS",
    "USAGE_INPUT_TOKENS",
    "USAGE_OUTPUT_TOKENS",
    "WORKFLOW_ATTRIBUTES",
    "WORKFLOW_NAME",
    "Capture",
    "capture",
    "input_messages",
    "operation_attributes",
    "output_messages",
    "request_attributes",
    "response_attributes",
]

_log = logging.getLogger("flowdecode")

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.0"

# Operations.
OPERATION_NAME: Final = "gen_ai.operation.name"
CHAT: Final = "chat"
INVOKE_WORKFLOW: Final = "invoke_workflow"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"

# Requests.
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_SEED: Final = "gen_ai.request.seed"
REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
REQUEST_STREAM: Final = "gen_ai.request.stream"

# Responses.
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"

# Content, only where it is asked for.
CAPTURE_MESSAGE_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
INFERENCE_DETAILS: Final = "gen_ai.client.inference.operation.details"

# Metrics, with the bucket boundaries that the conventions give.
DURATION: Final = "gen_ai.client.operation.duration"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
TOKEN_USAGE: Final = "gen_ai.client.token.usage"
TOKEN_TYPE: Final = "gen_ai.token.type"
SECONDS_BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))
TOKEN_BUCKETS: Final = tuple(4**power for power in range(14))

# flowdecode's own.
RUN_ID: Final = "flowdecode.run_id"
RUN_STATUS: Final = "flowdecode.status"
STRATEGY: Final = "flowdecode.strategy"
PLAN_SPAN: Final = "flowdecode.plan"
NODE_ID: Final = "flowdecode.node.id"
NODE_PARENTS: Final = "flowdecode.node.parents"
NODE_EXPECTED_CACHED_TOKENS: Final = "flowdecode.node.expected_cached_tokens"
NODE_TITLE: Final = "flowdecode.node.title"
RESENT: Final = "flowdecode.request.resent"
REQUEST_ATTEMPT: Final = "flowdecode.request.attempt"


WORKFLOW_ATTRIBUTES: Final = {OPERATION_NAME: INVOKE_WORKFLOW, WORKFLOW_NAME: "flowdecode"}


def operation_attributes(
    provider: str, model: str, address: str | None, port: int | None
) -> dict[str, AnyValue]:
    """What a sampler may decide by, and a metric is divided by."""
    return _known(
        {
            OPERATION_NAME: CHAT,
            PROVIDER_NAME: provider,
            REQUEST_MODEL: model,
            SERVER_ADDRESS: address,
            SERVER_PORT: None if address is None else port,
        }
    )


def request_attributes(sampling: SamplingParams) -> dict[str, AnyValue]:
    """What a request asks for, beside its prompt."""
    return _known(
        {
            REQUEST_STREAM: True,
            REQUEST_MAX_TOKENS: sampling.max_tokens,
            REQUEST_TEMPERATURE: sampling.temperature,
            REQUEST_TOP_P: sampling.top_p,
            REQUEST_SEED: sampling.seed,
            REQUEST_STOP_SEQUENCES: sampling.stop or None,
        }
    )


def response_attributes(
    engine: Engine, reason: FinishReason | None, usage: Usage, seconds_to_first_chunk: float | None
) -> dict[str, AnyValue]:
    """What came back, beside its text; tokens that were not counted are left out."""
    tells_cached = engine.capabilities.cached_tokens and usage.prompt_tokens > 0
    return _known(
        {
            RESPONSE_MODEL: engine.model,
            RESPONSE_TIME_TO_FIRST_CHUNK: seconds_to_first_chunk,
            FINISH_REASONS: None if reason is None else [reason],
            USAGE_INPUT_TOKENS: usage.prompt_tokens or None,
            USAGE_OUTPUT_TOKENS: usage.completion_tokens or None,
            USAGE_CACHE_READ_INPUT_TOKENS: usage.cached_tokens if tells_cached else None,
        }
    )


def _known(attributes: dict[str, AnyValue]) -> dict[str, AnyValue]:
    return {name: value for name, value in attributes.items() if value is not None}


def input_messages(context: Context) -> list[AnyValue]:
    """A prompt in the form of `gen_ai.input.messages`."""
    return [{"role": turn["role"], "parts": [_text(turn["content"])]} for turn in context.messages()]


def output_messages(pieces: Iterable[str], reason: FinishReason | None) -> list[AnyValue]:
    """An answer in the form of `gen_ai.output.messages`, which wants a reason for its end."""
    return [{"role": "assistant", "parts": [_text("".join(pieces))], "finish_reason": reason or "error"}]


def _text(content: str) -> dict[str, str]:
    return {"type": "text", "content": content}


class Capture(NamedTuple):
    """Where the texts of prompts and answers are recorded."""

    on_span: bool = False
    as_event: bool = False


_CAPTURES: Final = {
    "NO_CONTENT": Capture(),
    "SPAN_ONLY": Capture(on_span=True),
    "EVENT_ONLY": Capture(as_event=True),
    "SPAN_AND_EVENT": Capture(on_span=True, as_event=True),
}


@lru_cache(maxsize=16)
def capture(setting: str) -> Capture:
    """What a value of the variable `CAPTURE_MESSAGE_CONTENT` asks for; warns once of an unknown one."""
    known = _CAPTURES.get(setting.upper() or "NO_CONTENT")
    if known is None:
        _log.warning(
            "Expected %s, got %r - at `%s`. No content is recorded.",
            ", ".join(_CAPTURES),
            setting,
            CAPTURE_MESSAGE_CONTENT,
        )
    return known or Capture()
