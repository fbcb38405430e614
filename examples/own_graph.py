"""A graph of one's own: model and tools in turn, each step as soon as what it needs is there.

Any engine does: FLOWDECODE_BACKEND=sglang://127.0.0.1:30000 python examples/own_graph.py
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import flowdecode

SCRIPT = Path(__file__).with_name("own_graph.jsonl")
BACKEND = os.environ.get("FLOWDECODE_BACKEND") or f"scripted:{SCRIPT}"
FORECASTS = {"Porto": "18 °C, showers", "Évora": "27 °C, sunny", "Coimbra": "22 °C, cloudy"}


async def forecast(town: str) -> str:
    """A tool: any coroutine function is one."""
    return FORECASTS.get(town, "no forecast")


async def listed(names: list[str], *texts: str) -> str:
    return "\n".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))


async def main() -> None:
    async with flowdecode.connect(BACKEND) as flow, flow.graph(timeout=120) as graph:
        # Awaited, a node is its output: the graph goes on growing from what the model says.
        names = await graph.decode("Three towns in Portugal for a weekend: only their names, with commas.")
        towns = names.strip(" .\n").split(", ")[:3]

        verdicts: list[flowdecode.Node[str]] = []
        for town in towns:
            # Nothing is awaited here: the sights and the forecasts of all towns are looked up at once.
            weather = graph.call(forecast, town)
            sights = graph.decode("What is worth seeing in {town}? One sentence.", town=town)
            verdict = graph.decode(
                "Town: {town}\nForecast: {weather}\nSights: {sights}\n\nIs it good for a weekend on foot?",
                town=town,
                weather=weather,
                sights=sights,
            )
            verdicts.append(verdict)

        table = graph.call(listed, towns, *verdicts)
        choice = graph.decode("{table}\n\nChoose one of these towns, and say why.", table=table)
        # `after` goes on with the whole conversation, all of which the engine has in its prefix cache.
        message = graph.decode("Now write that to a friend in one line.", after=choice)

    print(f"{table.output}\n\n{choice.output}\n\n{message.output}")
    print(f"\n{len(graph.result.nodes)} nodes in {graph.result.duration:.2f} s")


if __name__ == "__main__":
    asyncio.run(main())
