"""One Plato run with forced lengths against a real SGLang server, beside what one would write by hand."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.sampling import SamplingParams
from flowdecode.usage import Usage
from flowdecode_backends.sglang_client import SGLang
from flowdecode_graphs.plato import Plato
from flowdecode_graphs.prompts import Prompts
from tests.benchmarks import early_prefill
from tests.benchmarks.early_prefill import flush, prefilled
from tests.benchmarks.forced_engines import EndlessSGLang
from tests.benchmarks.forced_plan import TEA, in_tokens
from tests.benchmarks.measure import table
from tests.benchmarks.methods import plato
from tests.benchmarks.methods.fork import open_fork
from tests.benchmarks.methods.measured import COLUMNS, Measured, row
from tests.sglang_server import environment
from tests.sglang_server.model import save_random
from tests.sglang_server.server import Server

__all__ = ["main"]

PROMPTS = Prompts()

Way = Callable[[], Awaitable[Measured]]


async def with_flowdecode(url: str, strategy: Plato, *, salted: bool = False, warm: int = 64) -> Measured:
    """The run of a strategy."""
    backend = EndlessSGLang(url, warm=warm)
    backend.salted = salted
    async with backend:
        return await plato.measure(backend, TEA, None, strategy)


async def by_hand(url: str, tokenizer: Any) -> Measured:
    """`asyncio.gather`, a barrier behind the plan and every level; prompts by the chat template."""
    metas: list[dict[str, Any]] = []
    head = [
        {"role": "system", "content": PROMPTS.rules},
        {"role": "user", "content": TEA.question + PROMPTS.plan},
    ]
    first = 0.0

    async def ask(session: aiohttp.ClientSession, messages: list[dict[str, str]], **sampling: Any) -> str:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer.encode(text, add_special_tokens=False)
        body = {"input_ids": ids, "sampling_params": {"temperature": 0, **sampling}}
        async with session.post(url + "/generate", json=body) as response:
            answer = await response.json()
        metas.append(answer["meta_info"])
        return str(answer["text"])

    async with aiohttp.ClientSession() as session:
        start = time.perf_counter()
        ids = tokenizer.encode(TEA.text, add_special_tokens=False)
        plan = await ask(session, head, max_new_tokens=640, ebnf=in_tokens(ids))
        planned = [*head, {"role": "assistant", "content": plan}]
        texts: dict[int, str] = {}

        async def part(number: int) -> None:
            nonlocal first
            _, tokens, parents = TEA.parts[number]
            told = "".join(TEA.told(parent, texts[parent], PROMPTS) for parent in parents)
            messages = [*planned, {"role": "user", "content": told + TEA.instruction(number, PROMPTS)}]
            texts[number] = await ask(session, messages, max_new_tokens=tokens, ignore_eos=True)
            if number == 1:
                first = time.perf_counter() - start

        for level in TEA.levels:
            await asyncio.gather(*map(part, level))
        seconds = time.perf_counter() - start
    prompt, cached, decoded = (
        sum(meta[key] for meta in metas) for key in ("prompt_tokens", "cached_tokens", "completion_tokens")
    )
    return Measured(seconds, len(metas), prompt, cached, decoded, first, first)


async def measured(url: str, way: Way) -> Measured:
    """One run with a cold cache."""
    await flush(url)
    before = await prefilled(url)
    took = await way()
    await asyncio.sleep(0.5)  # the server tells its counts now and then
    return msgspec.structs.replace(took, prefilled=await prefilled(url) - before)


async def main(*, quick: bool) -> str:
    """The table. It needs the server's environment: `python -m tests.sglang_server.environment` makes it."""
    if not (environment.folder() / "done").exists():
        return "Needs the SGLang server: `python -m tests.sglang_server.environment` installs it."
    with tempfile.TemporaryDirectory() as folder:
        model = save_random(Path(folder) / "model")
        rounds = 1 if quick else 5
        rows: list[list[object]] = []
        plan = early = ""
        for policy in ("fcfs", "lpm"):
            flags = ("--incremental-streaming-output", "--schedule-policy", policy)
            with Server(model, Path(folder) / policy, *flags) as server:
                await asyncio.to_thread(server.wait)
                rows += [[policy, *row] for row in await siblings(server.url, rounds=rounds)]
                plan = plan or await compared(server.url, model, rounds=rounds)
                early = early or await early_prefill.compared(server.url, rounds=rounds)
        columns = ["policy", "siblings", "seconds", "prompt tokens", "prefilled"]
        return f"{plan}\n\n{early}\n\n{table(columns, rows)}"


async def siblings(url: str, *, rounds: int) -> list[list[object]]:
    """Eight requests that share 900 tokens no one has sent before, with and without warming."""
    found: dict[int, list[Measured]] = {64: [], 0: []}
    for round_ in range(rounds + 1):
        for warm, runs in found.items():
            took = await measured(url, partial(fan_out, url, warm))
            if round_:
                runs.append(took)
    rows: list[list[object]] = []
    for warm, runs in found.items():
        seconds = f"{statistics.median(run.seconds for run in runs):.2f}"
        tokens = f"{statistics.median(run.prefilled for run in runs):,.0f}"
        rows.append(["warmed" if warm else "at once", seconds, f"{runs[0].prompt:,}", tokens])
    return rows


async def fan_out(url: str, warm: int) -> Measured:
    """Eight parts of 20 tokens behind the rules and the question."""
    async with SGLang(url, warm=warm) as backend:
        head = Context.of([Block("system", PROMPTS.rules), Block("user", TEA.question)])

        async def part(number: int) -> Usage:
            context = head.extend(Block("user", f"\n\nWrite part {number}."))
            sampling = SamplingParams(max_tokens=20, temperature=0.0)
            asked = Request(id=f"{time.time_ns()}-{number}", run_id="1", context=context, sampling=sampling)
            async with backend.decode(asked) as decoding:
                _ = [delta async for delta in decoding]
            return decoding.usage

        start = time.perf_counter()
        usage = Usage.total(await asyncio.gather(*map(part, range(8))))
        seconds = time.perf_counter() - start
    return Measured(seconds, 8, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)


async def compared(url: str, model: Path, *, rounds: int) -> str:
    """The table of one server."""
    transformers: Any = import_module("transformers")  # which leaves it untyped
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(model)
    async with open_fork(url, tokenizer) as fork:
        ways: dict[str, Way] = {
            "flowdecode, spine": partial(with_flowdecode, url, Plato()),
            "flowdecode, canonical": partial(with_flowdecode, url, Plato(layout="canonical")),
            "flowdecode, spine, early prefill": partial(with_flowdecode, url, Plato(early_prefill=64)),
            "flowdecode, spine, parts don't see the plan": partial(
                with_flowdecode, url, Plato(plan_view="none")
            ),
            "flowdecode, spine, no warming": partial(with_flowdecode, url, Plato(), warm=0),
            "flowdecode, spine, not pipelined": partial(with_flowdecode, url, Plato(pipelined=False)),
            "flowdecode, no shared prefixes": partial(with_flowdecode, url, Plato(), salted=True),
            "`asyncio.gather` with barriers": partial(by_hand, url, tokenizer),
            "SGLang's frontend, `fork`": partial(fork.measure, TEA, "", PROMPTS),
        }
        found: dict[str, list[Measured]] = {name: [] for name in ways}
        for round_ in range(rounds + 1):
            for name, way in ways.items():
                took = await measured(url, way)
                if round_:  # the first one compiles grammars and warms the code
                    found[name].append(took)
    return table(["", *COLUMNS], [[name, *row(runs)] for name, runs in found.items()])
