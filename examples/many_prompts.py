"""Many prompts over one connection: as many at once as the engine should get, each answer when it is there.

Any engine does: FLOWDECODE_BACKEND=sglang://127.0.0.1:30000 python examples/many_prompts.py
"""

from __future__ import annotations

import asyncio
import os

import flowdecode

BACKEND = os.environ.get("FLOWDECODE_BACKEND", "local:")
CONCURRENCY = 3
QUESTIONS = [
    "What is the craft of Bramuvar?",
    "What is the climate of Lornetti?",
    "What is the dish of Nevusso?",
    "Name the river of Mirkusso.",
    "",
    "How many metres high is the landmark of Peltemby?",
    "Which drink is usual in Dovalda?",
    "Who founded Grimavel?",
    "Tell me a story.",
]


async def ask(flow: flowdecode.Flow, question: str) -> None:
    """Print one answer, or why there is none: a prompt that fails does not end the others."""
    try:
        # Many prompts keep the engine's batch full as it is; a plan pays where somebody waits for one answer.
        result = await flow.run(question, strategy="sequential", max_tokens=200)
    except flowdecode.FlowdecodeError as error:
        print(f"{question or '(blank)'} FAILED: {error}", flush=True)
    else:
        _, _, sentence = result.text.rpartition("\n\n")  # below its heading
        print(f"{question} {sentence} ({result.duration:.2f} s)", flush=True)


async def main() -> None:
    # `concurrency` counts decodes over all runs, which get their turns one after another.
    # An engine that says it is busy is asked again a little later.
    async with flowdecode.connect(BACKEND, concurrency=CONCURRENCY) as flow, asyncio.TaskGroup() as tasks:
        for question in QUESTIONS:
            tasks.create_task(ask(flow, question))


if __name__ == "__main__":
    asyncio.run(main())
