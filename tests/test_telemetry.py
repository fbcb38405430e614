"""Traces, metrics and events, seen through the SDK's in-memory exporters."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags

import flowdecode
from flowdecode import semconv, telemetry
from flowdecode.attempt import Decode, Retry
from flowdecode.context import Block, Context
from flowdecode.errors import NodeError, RequestRejected, RunTimeout
from flowdecode.events import NodeDelta, NodeStarted
from flowdecode.graph import Graph
from flowdecode.strategy import Strategy
from flowdecode_backends.scripted import Fault, Replies, Reply, Scripted

pytestmark = pytest.mark.anyio

WORKFLOW, CHAT = "invoke_workflow flowdecode", "chat scripted"


class Seen(SpanProcessor):
    """Everything that a run told, and in which order."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self.order: list[str] = []
        self.open: set[int] = set()
        self.spans: list[ReadableSpan] = []
        self.reader = InMemoryMetricReader()
        self.exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracers.add_span_processor(self)
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        loggers = LoggerProvider(shutdown_on_exit=False)
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        self.tracer = self.tracers.get_tracer("flowdecode")
        self.signals = telemetry.Signals(
            self.tracer, meters.get_meter("flowdecode"), loggers.get_logger("flowdecode")
        )

    def on_start(self, span: trace.Span, parent_context: Any = None) -> None:
        assert isinstance(span, ReadableSpan)
        self.open.add(span.get_span_context().span_id)
        self.order.append(f"start {span.name}")

    def on_end(self, span: ReadableSpan) -> None:
        self.open.discard(identity(span))
        self.order.append(f"end {span.name}")
        self.spans.append(span)

    def named(self, name: str) -> ReadableSpan:
        [span] = [span for span in self.spans if span.name == name]
        return span

    def node(self, node_id: str) -> ReadableSpan:
        [span] = [span for span in self.spans if attributes(span).get(semconv.NODE_ID) == node_id]
        return span

    def points(self, metric: str) -> list[HistogramDataPoint]:
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for found in scope.metrics
            if found.name == metric
            for point in found.data.data_points
            if isinstance(point, HistogramDataPoint)
        ]

    def events(self) -> list[dict[str, Any]]:
        return [
            {"name": log.log_record.event_name, **(log.log_record.attributes or {})}
            for log in self.exporter.get_finished_logs()
        ]

    def everything(self) -> str:
        metrics = self.reader.get_metrics_data()
        return "\n".join(
            [
                *(span.to_json() for span in self.spans),
                *map(str, self.events()),
                metrics.to_json() if metrics else "",
            ]
        )


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen = Seen()
    monkeypatch.setattr(telemetry, "signals", seen.signals)
    monkeypatch.delenv(semconv.CAPTURE_MESSAGE_CONTENT, raising=False)
    return seen


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def identity(span: ReadableSpan) -> int:
    context: trace.SpanContext | None = span.context
    assert context is not None
    return context.span_id


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def links(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def remote(replies: Replies) -> Scripted:
    """A scripted engine that claims to be reached over the network."""
    backend = Scripted(replies)
    backend.engine = msgspec.structs.replace(backend.engine, address="engine.example", port=30000)
    return backend


async def run(backend: Scripted, strategy: str | Strategy = "sequential", **settings: Any) -> None:
    await flowdecode.run("Riddle me this.", backend=backend, strategy=strategy, **settings)


class Grown(Strategy, frozen=True):
    """A strategy whose graph a test writes down."""

    name: ClassVar[str] = "grown"
    plant: Callable[[Graph], object]

    async def grow(self, graph: Graph) -> None:
        self.plant(graph)


def ask(graph: Graph, question: str) -> Decode:
    return Decode(context=lambda: Context.of([Block("user", question)]), sampling=graph.run.sampling)


def at_once(*_: object) -> float:
    return 0.0


async def tool() -> str:
    return "found"


def plan_and_parts(graph: Graph) -> None:
    """A plan, two parts, and an essay that needs one of them and a tool that needs both."""
    graph.add(ask(graph, "Plan."), id="plan", kind="plan")
    first = graph.add(ask(graph, "One."), id="1", title="Beginning", slot=graph.answer.open())
    second = graph.add(ask(graph, "Two."), id="2", title="Middle", slot=graph.answer.open())
    called = graph.add(tool, id="tool", parents=[first, second])
    graph.add(ask(graph, "Three."), id="3", title="End", parents=[first, called], slot=graph.answer.open())


# Spans


async def test_run_is_a_workflow_with_a_span_for_each_decode(seen: Seen) -> None:
    await run(Scripted([Reply("Tea.")]), Grown(plant=plan_and_parts))
    workflow, plan = seen.named(WORKFLOW), seen.named("flowdecode.plan")
    assert sorted(span.name for span in seen.spans) == [CHAT] * 4 + ["flowdecode.plan", WORKFLOW]
    assert parent(workflow) is None
    assert parent(plan) == identity(workflow)
    assert parent(seen.node("plan")) == identity(plan)
    assert {parent(seen.node(number)) for number in "123"} == {identity(workflow)}
    assert {span.kind for span in seen.spans} == {SpanKind.INTERNAL}
    assert {span.status.status_code for span in seen.spans} == {StatusCode.UNSET}


async def test_decode_links_to_the_nearest_decodes_that_it_builds_on(seen: Seen) -> None:
    await run(Scripted([Reply("Tea.")]), Grown(plant=plan_and_parts))
    first, second, third = map(seen.node, "123")
    assert links(third) == [identity(first), identity(second)]
    assert attributes(third)[semconv.NODE_PARENTS] == ("1", "tool")
    assert links(first) == links(second) == links(seen.node("plan")) == []


async def test_decode_ends_its_span_before_what_builds_on_it_starts(seen: Seen) -> None:
    def plant(graph: Graph) -> None:
        first = graph.add(ask(graph, "One."), slot=graph.answer.open())
        graph.add(ask(graph, "Two."), parents=[first])

    await run(Scripted([Reply("Tea.")]), Grown(plant=plant))
    chat = [f"start {CHAT}", f"end {CHAT}"]
    assert seen.order == [f"start {WORKFLOW}", *chat, *chat, f"end {WORKFLOW}"]


async def test_workflow_span_has_no_usage(seen: Seen) -> None:
    await run(Scripted([Reply("Tea.")]))
    told = attributes(seen.named(WORKFLOW))
    assert len(told.pop("flowdecode.run_id")) == 32
    assert told == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "flowdecode",
        "flowdecode.strategy": "sequential",
        "flowdecode.status": "done",
    }


async def test_chat_span_has_the_attributes_of_the_conventions(seen: Seen) -> None:
    backend = remote([Reply("Leaves and water.")])
    await run(backend, max_tokens=20, temperature=0.5, top_p=0.9, seed=7, stop="\n\n")
    span = seen.named(CHAT)
    told = attributes(span)
    assert 0 <= told.pop("gen_ai.response.time_to_first_chunk") < 20
    assert span.kind is SpanKind.CLIENT
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.max_tokens": 20,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.seed": backend.requests[0].sampling.seed,
        "gen_ai.request.stop_sequences": ("\n\n",),
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "scripted",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": backend.count_tokens(backend.requests[0].context) + 1,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "server.address": "engine.example",
        "server.port": 30000,
        "flowdecode.node.id": "answer",
        "flowdecode.node.parents": (),
        "flowdecode.node.expected_cached_tokens": 0,
    }


async def test_callers_span_is_the_parent_and_stays_current(seen: Seen) -> None:
    backend = Scripted([Reply("Tea.")])
    with seen.tracer.start_as_current_span("request") as request:
        await run(backend)
        assert trace.get_current_span() is request
    assert parent(seen.named(WORKFLOW)) == identity(seen.named("request"))
    assert len({span.context.trace_id for span in seen.spans if span.context}) == 1


async def test_called_function_runs_in_the_workflow_span_and_the_callers_context(seen: Seen) -> None:
    user: ContextVar[str] = ContextVar("user")
    user.set("Ada")
    found: list[object] = []

    async def look(_: str) -> None:
        found.extend([user.get(), trace.get_current_span().get_span_context().span_id])

    async with flowdecode.connect(Scripted([Reply("Tea.")])) as flow, flow.graph() as graph:
        graph.call(look, graph.decode("One."))
    assert found == ["Ada", identity(seen.named(WORKFLOW))]


async def test_decode_that_another_run_lets_start_stays_in_its_own_run(seen: Seen) -> None:
    backend = Scripted([Reply("Tea is water.", pace=0)])
    async with flowdecode.connect(backend, concurrency=1) as flow:
        await asyncio.gather(*(flow.run(f"Run {number}.", strategy="sequential") for number in range(4)))
    workflows = [span for span in seen.spans if span.name == WORKFLOW]
    chats = [span for span in seen.spans if span.name == CHAT]
    assert sorted(map(identity, workflows)) == sorted(parent(chat) or 0 for chat in chats)


async def test_engine_gets_the_chat_spans_traceparent(seen: Seen) -> None:
    backend = Scripted([Reply("Tea.")])
    await run(backend)
    context = seen.named(CHAT).context
    assert context is not None
    assert backend.requests[0].headers == {
        "traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    }


# Failures


async def test_failure_is_told_by_its_type_alone(seen: Seen) -> None:
    backend = Scripted([Reply("", fault=Fault(error="rejected"))])
    with pytest.raises(RequestRejected):
        await run(backend)
    for span in seen.spans:
        assert attributes(span)["error.type"] == "RequestRejected"
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert span.events == ()
    [duration] = seen.points("gen_ai.client.operation.duration")
    assert dict(duration.attributes or {})["error.type"] == "RequestRejected"
    assert attributes(seen.named(WORKFLOW))["flowdecode.status"] == "failed"


async def test_failed_plan_ends_its_span_with_the_error(seen: Seen) -> None:
    def plant(graph: Graph) -> None:
        graph.add(ask(graph, "Plan."), kind="plan")
        graph.add(ask(graph, "One."))

    replies = [Reply("", match="Plan.", fault=Fault(error="rejected")), Reply("Tea.")]
    with pytest.raises((NodeError, RequestRejected)):
        await run(Scripted(replies), Grown(plant=plant), on_error="raise")
    plan = seen.named("flowdecode.plan")
    assert (attributes(plan)["error.type"], plan.status.status_code) == ("RequestRejected", StatusCode.ERROR)


async def test_retried_decode_has_one_span_without_an_error(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "delay", at_once)
    await run(Scripted([Reply("", times=2, fault=Fault(error="unavailable")), Reply("Tea.")]))
    span = seen.named(CHAT)
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes(span)
    assert [(event.name, dict(event.attributes or {})) for event in span.events] == [
        ("flowdecode.request.resent", {"flowdecode.request.attempt": number}) for number in (2, 3)
    ]
    assert [point.count for point in seen.points("gen_ai.client.operation.duration")] == [1]


async def test_cancelled_run_leaves_no_span_open_and_is_no_failure(seen: Seen) -> None:
    backend = Scripted([Reply("Tea is.", fault=Fault(after_tokens=2, error="hang"))])
    async with flowdecode.stream("Tea?", backend=backend, strategy="sequential") as under_way:
        async for event in under_way:
            if isinstance(event, NodeDelta):
                break
        assert len(seen.open) == 2
    assert seen.open == set()
    for span in seen.spans:
        assert attributes(span)["error.type"] == "cancelled"
        assert span.status.status_code is StatusCode.UNSET
    assert attributes(seen.named(CHAT))["gen_ai.usage.output_tokens"] > 0
    [duration] = seen.points("gen_ai.client.operation.duration")
    assert dict(duration.attributes or {})["error.type"] == "cancelled"


async def test_stream_may_be_closed_from_another_task(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    streaming = flowdecode.stream(
        "Tea?", backend=Scripted([Reply("", fault=Fault(error="hang"))]), strategy="sequential"
    )
    under_way = await asyncio.create_task(streaming.__aenter__())
    async for event in under_way:
        if isinstance(event, NodeStarted):
            break
    await asyncio.create_task(streaming.__aexit__(None, None, None))
    assert seen.open == set()
    assert caplog.records == []


async def test_run_that_takes_too_long_is_a_failure(seen: Seen) -> None:
    backend = Scripted([Reply("", fault=Fault(error="hang"))])
    with pytest.raises(RunTimeout):
        await run(backend, timeout=0.01)
    workflow = seen.named(WORKFLOW)
    assert attributes(workflow)["error.type"] == "RunTimeout"
    assert workflow.status.status_code is StatusCode.ERROR
    assert attributes(seen.named(CHAT))["error.type"] == "cancelled"


async def test_decode_that_may_send_nothing_is_not_measured(seen: Seen) -> None:
    def plant(graph: Graph) -> None:
        first = graph.add(ask(graph, "One."), id="1", slot=graph.answer.open())
        graph.add(ask(graph, "Two."), id="2", parents=[first], slot=graph.answer.open())

    await run(Scripted([Reply("Leaves and water.")]), Grown(plant=plant), token_budget=2)
    assert semconv.REQUEST_STREAM not in attributes(seen.node("2"))
    assert [point.count for point in seen.points("gen_ai.client.operation.duration")] == [1]


# Metrics


async def test_metrics_have_the_conventions_names_labels_and_buckets(seen: Seen) -> None:
    await run(remote([Reply("Leaves and water.")]), Grown(plant=plan_and_parts))
    labels: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "scripted",
        "server.address": "engine.example",
        "server.port": 30000,
    }
    for metric in ("gen_ai.client.operation.duration", "gen_ai.client.operation.time_to_first_chunk"):
        [point] = seen.points(metric)
        assert (dict(point.attributes or {}), point.count) == (labels, 4)
        assert (point.explicit_bounds[0], point.explicit_bounds[-1]) == (0.01, 81.92)
    sums = {
        dict(point.attributes or {})["gen_ai.token.type"]: point for point in seen.points(semconv.TOKEN_USAGE)
    }
    assert sums.keys() == {"input", "output"}
    assert (sums["output"].sum, sums["output"].count) == (16, 4)
    assert dict(sums["input"].attributes or {}) == {**labels, "gen_ai.token.type": "input"}
    assert sums["input"].explicit_bounds[-1] == 67108864


# Content


def secrets(graph: Graph) -> None:
    plan_and_parts(graph)
    graph.add(ask(graph, "Quokka."), title="Wombat", slot=graph.answer.open())


@pytest.mark.parametrize("setting", ["", "NO_CONTENT", "no_content"])
async def test_content_is_absent_unless_asked_for(
    seen: Seen, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv(semconv.CAPTURE_MESSAGE_CONTENT, setting)
    await run(Scripted([Reply("Numbat.")]), Grown(plant=secrets))
    with pytest.raises(NodeError):  # whose message quotes the prompt
        await run(Scripted([Reply("", match="Nothing")]), Grown(plant=secrets), on_error="raise")
    told = seen.everything()
    assert semconv.REQUEST_STREAM in told
    assert [word for word in ("Quokka", "Wombat", "Numbat", "Riddle", "Nothing") if word in told] == []
    assert seen.events() == []


@pytest.mark.parametrize(
    ("setting", "on_span", "as_event"),
    [("SPAN_ONLY", True, False), ("event_only", False, True), ("SPAN_AND_EVENT", True, True)],
)
async def test_content_goes_where_it_is_asked_for(
    seen: Seen, monkeypatch: pytest.MonkeyPatch, setting: str, on_span: bool, as_event: bool
) -> None:
    monkeypatch.setenv(semconv.CAPTURE_MESSAGE_CONTENT, setting)
    await run(Scripted([Reply("Numbat.")]), system="Be brief.")
    asked = [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Riddle me this."}]},
    ]
    said = [{"role": "assistant", "parts": [{"type": "text", "content": "Numbat."}], "finish_reason": "stop"}]
    span = seen.named(CHAT)
    told = attributes(span)
    assert (semconv.INPUT_MESSAGES in told, semconv.NODE_TITLE in told) == (on_span, on_span)
    if on_span:
        assert json.loads(told["gen_ai.input.messages"]) == asked
        assert json.loads(told["gen_ai.output.messages"]) == said
    assert len(seen.events()) == as_event
    for event, log in zip(seen.events(), seen.exporter.get_finished_logs(), strict=True):
        assert event["name"] == "gen_ai.client.inference.operation.details"
        assert plain(event["gen_ai.input.messages"]) == asked
        assert plain(event["gen_ai.output.messages"]) == said
        assert event["gen_ai.operation.name"] == "chat"
        assert event["gen_ai.usage.output_tokens"] == 2
        assert log.log_record.span_id == identity(span)


def plain(value: Any) -> Any:
    """The SDK's tuples and mappings as lists and dictionaries."""
    return json.loads(json.dumps(value, default=dict))


async def test_event_of_a_failed_decode_has_its_error(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(semconv.CAPTURE_MESSAGE_CONTENT, "EVENT_ONLY")
    monkeypatch.setattr(Retry, "delay", at_once)
    lost = Reply("Tea is.", times=1, fault=Fault(after_tokens=1, error="drop"))
    with pytest.raises(RequestRejected):
        await run(Scripted([lost, Reply("", fault=Fault(error="rejected"))]))
    [event] = seen.events()
    assert event["error.type"] == "RequestRejected"
    assert event["gen_ai.output.messages"][0]["parts"][0]["content"] == "Tea"
    assert event["gen_ai.output.messages"][0]["finish_reason"] == "error"


async def test_unknown_setting_records_no_content_and_warns_once(
    seen: Seen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    semconv.capture.cache_clear()
    monkeypatch.setenv(semconv.CAPTURE_MESSAGE_CONTENT, "everything")
    for _ in range(2):
        await run(Scripted([Reply("Numbat.")]))
    [record] = [record for record in caplog.records if record.name == "flowdecode"]
    assert record.levelno == logging.WARNING
    assert "SPAN_ONLY" in record.message
    assert "'everything'" in record.message
    assert "Numbat" not in seen.everything()


# Without a listener


def refuse(*_: object) -> Any:
    raise AssertionError("nobody listens")


def watch(monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """Fail where an attribute is built, or one of the functions `more` is called."""
    for name in ("request_attributes", "response_attributes", "input_messages", "output_messages"):
        monkeypatch.setattr(semconv, name, refuse)
    for target in more:
        monkeypatch.setattr(target, refuse)


async def test_nothing_is_built_for_a_span_that_does_not_record(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(ALWAYS_OFF)
    monkeypatch.setattr(telemetry, "signals", seen.signals)
    monkeypatch.setenv(semconv.CAPTURE_MESSAGE_CONTENT, "SPAN_ONLY")
    unrecorded = "opentelemetry.trace.NonRecordingSpan"
    writers = ("set_attribute", "set_attributes", "add_link", "set_status")
    watch(monkeypatch, *(f"{unrecorded}.{name}" for name in writers))
    backend = Scripted([Reply("Tea.")])
    await run(backend, Grown(plant=plan_and_parts))
    assert seen.spans == []
    assert {request.headers["traceparent"][-2:] for request in backend.requests} <= {"00", "02"}
    assert [point.count for point in seen.points("gen_ai.client.operation.duration")] == [4]


async def test_without_an_sdk_nothing_is_built_or_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    watch(monkeypatch, "opentelemetry.propagate.inject", "opentelemetry.context.attach")
    backend = Scripted([Reply("Tea.")])
    await run(backend, Grown(plant=plan_and_parts))
    assert {frozenset(request.headers) for request in backend.requests} == {frozenset()}


async def test_without_an_sdk_the_callers_trace_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    watch(monkeypatch)
    backend = Scripted([Reply("Tea.")])
    context = trace.SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with trace.use_span(trace.NonRecordingSpan(context)):
        await run(backend)
    assert backend.requests[0].headers == {"traceparent": f"00-{7:032x}-{8:016x}-01"}


# The page for users


def test_page_on_tracing_names_all_that_is_recorded() -> None:
    page = (Path(__file__).parents[1] / "docs" / "tracing.md").read_text(encoding="utf-8")
    prefixes = ("gen_ai.", "flowdecode.", "server.", "error.", "OTEL_")
    values = [getattr(semconv, name) for name in semconv.__all__]
    names = [value for value in values if isinstance(value, str) and value.startswith(prefixes)]
    assert len(names) > 30
    assert [name for name in names if f"`{name}`" not in page] == []
