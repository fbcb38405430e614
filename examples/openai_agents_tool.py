"""An agent of the OpenAI Agents SDK with a tool that writes long texts in parallel.

Any engine does: FLOWDECODE_BACKEND=sglang://127.0.0.1:30000 python examples/openai_agents_tool.py
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from agents import Agent, RunConfig, RunContextWrapper, Runner, function_tool
from agents.testing import ScriptedModel
from openai.types.responses import ResponseFunctionToolCall

import flowdecode

SCRIPT = Path(__file__).with_name("demo.jsonl")
BACKEND = os.environ.get("FLOWDECODE_BACKEND") or f"scripted:{SCRIPT}"


@function_tool(failure_error_function=None)  # a failure ends the agent's run, as an error
async def write_report(context: RunContextWrapper[flowdecode.Flow], task: str) -> str:
    """Write a report in sections; `task` says what it is about and what it should cover."""
    return (await context.context.run(task, timeout=120)).text


# The report is the answer: the agent's own model does not write all of it once more.
agent = Agent[flowdecode.Flow](name="Reporter", tools=[write_report], tool_use_behavior="stop_on_first_tool")


def pretend() -> ScriptedModel:
    """Stands in for the agent's own model, so that this runs anywhere; put yours in its place."""
    task = "Compare tea and coffee: origin, caffeine, taste, and which to drink in the evening."
    call = ResponseFunctionToolCall(
        type="function_call", name="write_report", call_id="1", arguments=json.dumps({"task": task})
    )
    return ScriptedModel([[call]])


async def main() -> None:
    config = RunConfig(model=pretend(), tracing_disabled=True)
    async with flowdecode.connect(BACKEND) as flow:
        result = await Runner.run(agent, "I need a report on hot drinks.", context=flow, run_config=config)
    print(result.final_output)


if __name__ == "__main__":
    asyncio.run(main())
