"""Traces, metrics and events of a run, through the OpenTelemetry API.

A run is a span `invoke_workflow flowdecode`, and each of its decodes a span `chat {model}` below it,
linked to the spans of the decodes that it builds on. No error message is recorded, since it may
quote a prompt, and content only where it is asked for.
"""

from __future__ import annotations

import os
from asyncio import CancelledError
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from opentelemetry import context as otel_context
from opentelemetry import metrics, propagate, trace
from opentelemetry._logs import Logger, LogRecord, get_logger
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, SpanKind, StatusCode, Tracer

from flowdecode import semconv

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.util.types import AnyValue

    from flowdecode.backend import Backend, Engine, FinishReason, Request
    from flowdecode.execution import Execution
    from flowdecode.node import Node

__all__ = ["Chat", "Signals", "Workflow"]


class Signals:
    """Where spans, metrics and events go."""

    def __init__(self, tracer: Tracer, meter: Meter, logger: Logger) -> None:
        def histogram(name: str, unit: str, description: str, buckets: Sequence[float]) -> Histogram:
            return meter.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=buckets
            )

        self.tracer = tracer
        self.logger = logger
        self.duration = histogram(semconv.DURATION, "s", "GenAI operation duration.", semconv.SECONDS_BUCKETS)
        self.time_to_first_chunk = histogram(
            semconv.TIME_TO_FIRST_CHUNK,
            "s",
            "Time from a request to the first chunk of its response.",
            semconv.SECONDS_BUCKETS,
        )
        self.token_usage = histogram(
            semconv.TOKEN_USAGE, "{token}", "Number of input and output tokens used.", semconv.TOKEN_BUCKETS
        )


signals = Signals(
    trace.get_tracer("flowdecode", schema_url=semconv.SCHEMA_URL),
    metrics.get_meter("flowdecode", schema_url=semconv.SCHEMA_URL),
    get_logger("flowdecode", schema_url=semconv.SCHEMA_URL),
)
"""Those of the application's providers, from the moment when it has set them."""


class Workflow:
    """The span of a whole run."""

    def __init__(self, run: Execution) -> None:
        self.run = run
        self._span: Span = INVALID_SPAN
        self.capture = semconv.Capture()
        self.traced = False
        """Whether there is a trace to belong to; a run without one starts no other span either."""

    def start(self) -> None:
        """Start the span and attach it to the current context, which is the run's own."""
        self.capture = semconv.capture(os.environ.get(semconv.CAPTURE_MESSAGE_CONTENT, ""))
        self._span = span = signals.tracer.start_span(
            f"{semconv.INVOKE_WORKFLOW} flowdecode", attributes=semconv.WORKFLOW_ATTRIBUTES
        )
        self.traced = span.get_span_context().is_valid
        if self.traced:
            otel_context.attach(trace.set_span_in_context(span))
        if span.is_recording():
            span.set_attribute(semconv.RUN_ID, self.run.id)

    def end(self, error: BaseException | None) -> None:
        """End the span; what the run has come to is in its `outcome`."""
        span, run = self._span, self.run
        if span.is_recording() and run.outcome is not None:
            span.set_attribute(semconv.RUN_STATUS, run.outcome.status)
            if run.strategy_name is not None:
                span.set_attribute(semconv.STRATEGY, run.strategy_name)
            if error is None and run.outcome.status == "cancelled":
                error = CancelledError()
        _end(span, error)

    def chat(self, node: Node[Any], backend: Backend) -> Chat:
        """The span of one node's decode, for `with`."""
        return Chat(self, node, backend.engine)


class Chat:
    """The span of one node's decode, whatever number of requests it takes; current inside the block."""

    headers: Mapping[str, str] = {}
    """Trace context for the engine."""
    reason: FinishReason | None = None
    """Why the decode has ended, unless it failed."""

    _span: Span = INVALID_SPAN
    _plan: Span | None = None
    _token: Token[Context] | None = None
    _request: Request | None = None

    def __init__(self, workflow: Workflow, node: Node[Any], engine: Engine) -> None:
        self._workflow = workflow
        self._node = node
        self._engine = engine
        self._target = _target(engine.provider, engine.model, engine.address, engine.port)

    def __enter__(self) -> Chat:
        if self._workflow.traced:
            self._start()
        return self

    def _start(self) -> None:
        node, target, parent = self._node, self._target, None
        if node.kind == "plan":
            self._plan = signals.tracer.start_span(semconv.PLAN_SPAN)
            parent = trace.set_span_in_context(self._plan)
        self._span = span = signals.tracer.start_span(target.name, parent, target.kind, target.labels)
        node.span_context = span.get_span_context()
        self._token = otel_context.attach(trace.set_span_in_context(span))
        self.headers = {}
        propagate.inject(self.headers)
        if span.is_recording():
            self._introduce()

    def _introduce(self) -> None:
        """Tell the span which node it is, and link it to where the node's context comes from."""
        node, span = self._node, self._span
        span.set_attribute(semconv.NODE_ID, node.id)
        span.set_attribute(semconv.NODE_PARENTS, [parent.id for parent in node.parents])
        span.set_attribute(semconv.NODE_EXPECTED_CACHED_TOKENS, node.expected_cached_tokens)
        if self._workflow.capture.on_span:  # a planned node's title is the model's text
            span.set_attribute(semconv.NODE_TITLE, node.title)
        for origin in _origins(node):
            span.add_link(origin)

    def sending(self, request: Request) -> None:
        """A request is about to be sent: the node's first one, or another after an error or a limit."""
        if self._request is None:
            self._request = request
        elif self._span.is_recording():
            self._span.add_event(semconv.RESENT, {semconv.REQUEST_ATTEMPT: self._node.attempts})

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._request is not None:
            self._measure(exc)
            if self._span.is_recording() or self._workflow.capture.as_event:
                self._describe(self._request, exc)
        _end(self._span, exc)
        if self._plan is not None:
            _end(self._plan, exc)
        if self._token is not None:
            otel_context.detach(self._token)

    def _measure(self, error: BaseException | None) -> None:
        labels, usage = self._target.labels, self._node.usage
        seconds = self._seconds_to_first_chunk()
        if seconds is not None:
            signals.time_to_first_chunk.record(seconds, labels)
        if usage.prompt_tokens:
            signals.token_usage.record(usage.prompt_tokens, self._target.input_labels)
        if usage.completion_tokens:
            signals.token_usage.record(usage.completion_tokens, self._target.output_labels)
        if error is not None:
            labels = {**labels, semconv.ERROR_TYPE: _error_type(error)}
        signals.duration.record(self._workflow.run.now() - (self._node.sent_at or 0.0), labels)

    def _seconds_to_first_chunk(self) -> float | None:
        node = self._node
        return None if node.first_token_at is None else node.first_token_at - (node.sent_at or 0.0)

    def _describe(self, request: Request, error: BaseException | None) -> None:
        """Tell the span, or an event, of the request and its response; their texts only where asked for."""
        node, capture = self._node, self._workflow.capture
        known = semconv.request_attributes(request.sampling)
        known |= semconv.response_attributes(
            self._engine, self.reason, node.usage, self._seconds_to_first_chunk()
        )
        texts: dict[str, AnyValue] = {}
        if any(capture):
            texts[semconv.INPUT_MESSAGES] = semconv.input_messages(request.context)
            texts[semconv.OUTPUT_MESSAGES] = semconv.output_messages(node.pieces, self.reason)
        if capture.as_event:
            event = {**self._target.labels, **known, **texts}
            if error is not None:
                event[semconv.ERROR_TYPE] = _error_type(error)
            signals.logger.emit(LogRecord(event_name=semconv.INFERENCE_DETAILS, attributes=event))
        if self._span.is_recording():
            if capture.on_span:
                known |= {name: msgspec.json.encode(text).decode() for name, text in texts.items()}
            self._span.set_attributes(known)


class _Target(NamedTuple):
    """What the spans and metrics of all decodes by one engine have in common: built once."""

    name: str
    kind: SpanKind
    labels: dict[str, AnyValue]
    input_labels: dict[str, AnyValue]
    output_labels: dict[str, AnyValue]


@lru_cache(maxsize=64)
def _target(provider: str, model: str, address: str | None, port: int | None) -> _Target:
    labels = semconv.operation_attributes(provider, model, address, port)
    return _Target(
        f"{semconv.CHAT} {model}",
        SpanKind.INTERNAL if address is None else SpanKind.CLIENT,
        labels,
        {**labels, semconv.TOKEN_TYPE: "input"},
        {**labels, semconv.TOKEN_TYPE: "output"},
    )


def _origins(node: Node[Any]) -> Iterator[SpanContext]:
    """The spans of the nearest decodes that `node` builds on: calls are looked through."""
    waiting = list(node.parents)
    seen = set(waiting)
    for parent in waiting:
        if parent.span_context is not None:
            yield parent.span_context
        else:
            more = [further for further in parent.parents if further not in seen]
            seen.update(more)
            waiting += more


def _error_type(error: BaseException) -> str:
    return "cancelled" if isinstance(error, CancelledError) else type(error).__qualname__


def _end(span: Span, error: BaseException | None) -> None:
    """End a span; a decode that nobody wants any more is no failure, but no success either."""
    if error is not None and span.is_recording():
        span.set_attribute(semconv.ERROR_TYPE, _error_type(error))
        if not isinstance(error, CancelledError):
            span.set_status(StatusCode.ERROR)
    span.end()
