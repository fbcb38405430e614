"""A run traced to the console: a line for each span, when it ends.

OpenTelemetry's SDK is in an extra: pip install 'flowdecode[otel]'. What is traced: docs/tracing.md.

Any engine does: FLOWDECODE_BACKEND=sglang://127.0.0.1:30000 python examples/tracing.py
"""

from __future__ import annotations

import asyncio
import os

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import flowdecode

BACKEND = os.environ.get("FLOWDECODE_BACKEND", "local:")
PROMPT = (
    "Help me with a trip to Jaskalda. I need a hotel for 5 nights, two days around it, and the total cost. "
    "Also tell me about the kitchen."
)


def line(span: ReadableSpan) -> str:
    """A span in one line; by default the exporter prints all of it, as JSON."""
    assert span.start_time is not None
    assert span.end_time is not None
    facts = dict(span.attributes or {})
    words = [f"{(span.end_time - span.start_time) / 1e9:6.2f} s  {span.name}"]
    if (node := facts.get("flowdecode.node.id")) is not None:
        words.append(f"node {node}")
    if span.links:  # to the spans of the parents
        words.append(f"built on {len(span.links)}")
    if (tokens := facts.get("gen_ai.usage.output_tokens")) is not None:
        prompt = facts["gen_ai.usage.input_tokens"]
        cached = facts.get("gen_ai.usage.cache_read.input_tokens", 0)
        words.append(f"{tokens} tokens, {cached} of {prompt} prompt tokens cached")
    if (error := facts.get("error.type")) is not None:
        words.append(f"ended: {error}")
    return ", ".join(words) + "\n"


async def main() -> None:
    # An application sets this up once, at its start. Where spans go to a collector, take the
    # BatchSpanProcessor and the OTLPSpanExporter.
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
    trace.set_tracer_provider(provider)

    with trace.get_tracer("examples").start_as_current_span("plan a trip"):
        result = await flowdecode.run(PROMPT, backend=BACKEND, timeout=120)
    print(f"\n{result.text}")
    provider.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
