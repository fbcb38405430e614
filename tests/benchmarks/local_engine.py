"""The local engine beside transformers' ways of decoding and SGLang's server, at several widths.

`python -m tests.benchmarks local_engine`. A random Llama in float32 of the demo model's size, and one of
half a billion parameters; greedy, prompts that share nothing but the chat template. What may be told by
the environment: LOCAL_MODEL, the folder of a model to take in place of the small one; LOCAL_SIZES, of
`small,large`; LOCAL_WIDTHS, as `1,8`; LOCAL_THREADS; LOCAL_SGLANG, the URL of a server of the small model,
as `sglang://...`.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import msgspec
import torch
import transformers

from flowdecode.backend import Backend, Request
from flowdecode.context import Block, Context
from flowdecode.plugins import open_backend
from flowdecode.sampling import SamplingParams
from flowdecode_backends.local.backend import Local
from flowdecode_backends.local.model import Source
from tests.backends.local.tokenizers import make_tokenizer
from tests.benchmarks import engine_floor, transformers_peers
from tests.benchmarks.measure import Case, Sample, interleaved, table

__all__ = ["main"]

_transformers: Any = transformers
TEXT = "Compare tea with coffee, cocoa and water; answer briefly. "
CHILDREN, PREFIX = 8, 1_000
WIDTHS = "1,2,4,8,16,32"


class Size(msgspec.Struct, frozen=True):
    """A random model, and how much it is asked for."""

    config: dict[str, int]
    tokens: int
    repeats: int
    """Of the text in a prompt."""


SIZES = {
    "small": Size(
        {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 8,
         "num_key_value_heads": 4, "vocab_size": 2048},
        tokens=64, repeats=4,
    ),
    "large": Size(
        {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
         "num_key_value_heads": 2, "vocab_size": 151_936},
        tokens=16, repeats=1,
    ),
}  # fmt: skip

_rounds = iter(range(10**6))


async def main(*, quick: bool) -> str:
    """The tables."""
    wanted = os.environ.get("LOCAL_SIZES", "small" if quick else "small,large").split(",")
    parts: list[str] = []
    for name in wanted:
        async with opened(name) as (backend, model):
            parts.append(await compared(name, backend, model, quick=quick))
            if name == "small":
                parts.append(await forked(backend, quick=quick))
                parts.append(await lag(backend, quick=quick))
            parts.append(engine_floor.told(backend.shared.model, model, quick=quick))
    return "\n\n".join(parts)


@asynccontextmanager
async def opened(name: str) -> AsyncGenerator[tuple[Local, Any]]:
    """The model of a size behind the engine, and the same for transformers."""
    with folder_of(name) as folder:
        model = _transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        threads = int(os.environ.get("LOCAL_THREADS", "1" if name == "small" else "2"))
        torch.set_num_threads(threads)
        async with Local(Source(folder, device="cpu"), threads=threads) as backend:
            yield backend, model


@contextmanager
def folder_of(name: str) -> Generator[str]:
    """Where the model of a size is; a random one is made."""
    if name == "small" and "LOCAL_MODEL" in os.environ:
        yield os.environ["LOCAL_MODEL"]
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
        config = _transformers.LlamaConfig(
            **SIZES[name].config,
            max_position_embeddings=2048,
            tie_word_embeddings=name == "large",
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
        )
        _transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        make_tokenizer("qwen3").save_pretrained(folder)
        yield folder


async def compared(name: str, backend: Local, model: Any, *, quick: bool) -> str:
    """Tokens per second at each width: of the engine, of transformers, of SGLang if there is a server."""
    size = SIZES[name]
    server = os.environ.get("LOCAL_SGLANG") if name == "small" else None
    names = ["flowdecode", "generate", "continuous batching", *(["SGLang"] if server else [])]
    found: dict[str, Sample]
    rows: list[list[object]] = []
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(open_backend(server)) if server else None
        for width in map(int, os.environ.get("LOCAL_WIDTHS", "1,2" if quick else WIDTHS).split(",")):
            cpu: dict[str, list[float]] = {}
            found = await interleaved(
                cases(backend, model, other, size, width, cpu), rounds=1 if quick else 5
            )
            best = max(found["generate"].median, found["continuous batching"].median)
            spent = {one: statistics.median(seconds[1:]) for one, seconds in cpu.items()}
            least = min(spent["generate"], spent["continuous batching"])
            rows.append([
                width,
                *(found[one] for one in names),
                f"{found['flowdecode'].median / best:.2f}",
                f"{found['flowdecode'].median / found['continuous batching'].median:.1f}",
                f"{least / spent['flowdecode']:.2f}",
                f"{spent['continuous batching'] / spent['flowdecode']:.1f}",
            ])  # fmt: skip
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    head = (
        f"{parameters:.1f} million parameters, {torch.get_num_threads()} thread(s), "
        f"{size.tokens} tokens each, in tokens per second:"
    )
    better, batching = "to the better of transformers'", "to continuous batching"
    columns = ["width", *names, better, batching, f"{better}, by CPU time", f"{batching}, by CPU time"]
    return f"{head}\n\n{table(columns, rows)}"


def cases(
    backend: Local,
    model: Any,
    other: Backend | None,
    size: Size,
    width: int,
    cpu: dict[str, list[float]],
) -> dict[str, Case]:
    """What takes turns, each on prompts of its own; `cpu` gets the CPU seconds of this process by round."""

    async def engine(target: Backend, name: str) -> float:
        round_ = next(_rounds)
        started, before = time.perf_counter(), time.process_time()
        texts = [prompt(round_, number, size.repeats) for number in range(width)]
        counts = await asyncio.gather(*(decode(target, text, size.tokens) for text in texts))
        cpu.setdefault(name, []).append(time.process_time() - before)
        return sum(counts) / (time.perf_counter() - started)

    async def peer(work: transformers_peers.Work, name: str) -> float:
        round_ = next(_rounds)
        contexts = [
            Context.of([Block("user", prompt(round_, number, size.repeats))]) for number in range(width)
        ]
        prompts = [list(backend.shared.model.tokens.render(context)) for context in contexts]
        started, before = time.perf_counter(), time.process_time()
        count = work(model, prompts, size.tokens)
        cpu.setdefault(name, []).append(time.process_time() - before)
        return count / (time.perf_counter() - started)

    found: dict[str, Case] = {
        "flowdecode": partial(engine, backend, "flowdecode"),
        "generate": partial(peer, transformers_peers.generate, "generate"),
        "continuous batching": partial(peer, transformers_peers.continuous_batching, "continuous batching"),
    }
    if other is not None:
        found["SGLang"] = partial(engine, other, "SGLang")
    return found


async def forked(backend: Local, *, quick: bool) -> str:
    """Time until all children of a long context have their first token."""
    words = "tea and coffee " * (PREFIX // 3)

    def heads(kept: bool) -> list[Block]:
        round_ = next(_rounds)
        return [Block("user", f"{round_} {'' if kept else child} {words}") for child in range(CHILDREN)]

    async def first_tokens(kept: bool) -> float:
        own = heads(kept)
        if kept:
            await decode_context(backend, Context.of(own[:1]), 1)
        contexts = [Context.of([head, Block("user", f"Part {n}.")]) for n, head in enumerate(own)]
        started = time.perf_counter()
        await asyncio.gather(*(decode_context(backend, context, 1) for context in contexts))
        return (time.perf_counter() - started) * 1000

    found = await interleaved(
        {"behind it": partial(first_tokens, True), "anew": partial(first_tokens, False)},
        rounds=1 if quick else 5,
    )
    length = backend.count_tokens(Context.of(heads(True)[:1]))
    head = f"Time until {CHILDREN} children of a context of {length:,} tokens all have a token, in ms:"
    return f"{head}\n\n{table(list(found), [list(found.values())])}"


async def lag(backend: Local, *, quick: bool) -> str:
    """How late timers of the event loop are while the engine decodes."""
    rows: list[list[object]] = []
    for width in (0, 1, 8, 32):
        work = asyncio.gather(
            *(
                decode(backend, prompt(next(_rounds), number, 4), 32 if quick else 128)
                for number in range(width)
            ),
            asyncio.sleep(0.5 if width == 0 else 0),
        )
        late: list[float] = []
        while not work.done():
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - started - 0.001) * 1000)
        await work
        late.sort()
        rows.append(
            [width, f"{late[len(late) // 2]:.2f}", f"{late[len(late) * 99 // 100]:.2f}", f"{late[-1]:.1f}"]
        )
    return f"How late a timer of 1 ms is, in ms:\n\n{table(['width', 'median', '99 of 100', 'most'], rows)}"


def prompt(round_: int, number: int, repeats: int) -> str:
    return f"{round_}.{number} {TEXT}" * repeats


async def decode(backend: Backend, text: str, tokens: int) -> int:
    return await decode_context(backend, Context.of([Block("user", text)]), tokens)


async def decode_context(backend: Backend, context: Context, tokens: int) -> int:
    name = f"bench{next(_rounds)}"
    sampling = SamplingParams(temperature=0, max_tokens=tokens)
    request = Request(id=f"{name}-", run_id=name, context=context, sampling=sampling)
    async with backend.decode(request) as stream:
        async for _ in stream:
            pass
    return stream.usage.completion_tokens
