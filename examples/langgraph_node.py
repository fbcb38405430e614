"""A LangGraph node whose text is decoded in parallel, and streams while the node runs.

Any engine does: FLOWDECODE_BACKEND=sglang://127.0.0.1:30000 python examples/langgraph_node.py
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

import flowdecode

SCRIPT = Path(__file__).with_name("demo.jsonl")
BACKEND = os.environ.get("FLOWDECODE_BACKEND") or f"scripted:{SCRIPT}"


@dataclass
class State:
    """What the nodes hand on."""

    topic: str
    report: str = ""
    words: int = 0


@dataclass
class Context:
    """What the nodes of one run share: the connection is opened once, outside of the graph."""

    flow: flowdecode.Flow


async def write(state: State, runtime: Runtime[Context]) -> dict[str, str]:
    async with runtime.context.flow.stream(state.topic, timeout=120) as run:
        async for text in run.text:
            runtime.stream_writer(text)
        return {"report": (await run.result()).text}


async def count(state: State, runtime: Runtime[Context]) -> dict[str, int]:
    words = len(state.report.split())
    runtime.stream_writer(f"\n\n{words} words\n")
    return {"words": words}


builder = StateGraph(State, context_schema=Context)
builder.add_node("write", write)
builder.add_node("count", count)
builder.add_edge(START, "write")
builder.add_edge("write", "count")
builder.add_edge("count", END)
graph = builder.compile()


async def main() -> None:
    start = State("Compare tea and coffee: origin, caffeine, taste, and which to drink in the evening.")
    async with flowdecode.connect(BACKEND) as flow:
        async for text in graph.astream(start, context=Context(flow), stream_mode="custom"):
            print(text, end="", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
