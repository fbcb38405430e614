"""A pydantic-ai agent with a tool that writes long texts in parallel.

Any engine does: FLOWDECODE_BACKEND=sglang://127.0.0.1:30000 python examples/pydantic_ai_tool.py
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import flowdecode

SCRIPT = Path(__file__).with_name("demo.jsonl")
BACKEND = os.environ.get("FLOWDECODE_BACKEND") or f"scripted:{SCRIPT}"

agent = Agent(deps_type=flowdecode.Flow)


@agent.tool
async def write_report(context: RunContext[flowdecode.Flow], task: str) -> str:
    """Write a report in sections; `task` says what it is about and what it should cover."""
    return (await context.deps.run(task, timeout=120)).text


async def pretend(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Stands in for the agent's own model, so that this runs anywhere; put yours in its place."""
    last = messages[-1].parts[-1]
    if isinstance(last, ToolReturnPart):
        return ModelResponse([TextPart(f"Here is the report.\n\n{last.content}")])
    task = "Compare tea and coffee: origin, caffeine, taste, and which to drink in the evening."
    return ModelResponse([ToolCallPart("write_report", {"task": task})])


async def main() -> None:
    async with flowdecode.connect(BACKEND) as flow:
        result = await agent.run("I need a report on hot drinks.", model=FunctionModel(pretend), deps=flow)
    print(result.output)


if __name__ == "__main__":
    asyncio.run(main())
