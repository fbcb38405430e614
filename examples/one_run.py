"""One prompt, decoded in parallel: the answer, and what is known about how it came about.

Any engine does: FLOWDECODE_BACKEND=sglang://127.0.0.1:30000 python examples/one_run.py
"""

from __future__ import annotations

import asyncio
import os
import sys

import flowdecode

BACKEND = os.environ.get("FLOWDECODE_BACKEND", "local:")
PROMPT = (
    "Help me with a trip to Jaskalda. I need a hotel for 5 nights, two days around it, and the total cost. "
    "Also tell me about the kitchen."
)


async def main() -> None:
    try:
        result = await flowdecode.run(PROMPT, backend=BACKEND, timeout=120)
    except flowdecode.FlowdecodeError as error:
        if error.partial is not None:  # what had been reached
            print(error.partial.text)
        sys.exit(f"No answer: {error}")
    print(result.text)
    print(f"\n{result.strategy}: {result.work} tokens, of which {result.span} one after another")
    if result.fallback_reason is not None:
        print(f"Answered in one go, because {result.fallback_reason}")
    for node in result.nodes:
        if node.status == "done":
            needs = f", after {', '.join(node.parents)}" if node.parents else ""
            print(f"{node.sent_at:6.2f} to {node.finished_at:.2f} s  {node.title or node.id}{needs}")


if __name__ == "__main__":
    asyncio.run(main())
