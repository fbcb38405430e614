"""An answer as it comes: first its text alone, then everything that happens on the way.

Any engine does: FLOWDECODE_BACKEND=sglang://127.0.0.1:30000 python examples/streaming.py
"""

from __future__ import annotations

import asyncio
import os

import flowdecode
from flowdecode.events import AnswerDelta, FellBack, NodeFailed, NodeFinished, NodePlanned, NodeStarted

BACKEND = os.environ.get("FLOWDECODE_BACKEND", "local:")
PROMPT = (
    "Help me with a trip to Jaskalda. I need a hotel for 5 nights, two days around it, and the total cost. "
    "Also tell me about the kitchen."
)


async def print_text() -> None:
    """In order, each piece as early as order allows; what was printed is never withdrawn."""
    async with flowdecode.stream(PROMPT, backend=BACKEND) as run:
        async for text in run.text:
            print(text, end="", flush=True)
        result = await run.result()
    print(f"\n\n{len(result.text)} characters in {result.duration:.2f} s\n")


async def print_events() -> None:
    """Many parts at once; leaving the block early would cancel all of them."""
    titles: dict[str, str] = {}
    characters = 0
    async with flowdecode.stream(PROMPT, backend=BACKEND) as run:
        async for event in run:
            match event:
                case NodePlanned(node_id=node, title=title):
                    titles[node] = title or node
                    continue
                case NodeStarted(node_id=node):
                    what = f"{titles[node]}: started"
                case NodeFinished(node_id=node, status=status):
                    what = f"{titles[node]}: {status}"
                case NodeFailed(node_id=node, error=error):
                    what = f"{titles[node]}: {error}"
                case FellBack(reason=reason):
                    what = f"answered in one go, because {reason}"
                case AnswerDelta(text=text):
                    characters += len(text)
                    continue
                case _:
                    continue
            print(f"{event.at:6.2f} s  {characters:5} characters  {what}", flush=True)


async def main() -> None:
    await print_text()
    await print_events()


if __name__ == "__main__":
    asyncio.run(main())
