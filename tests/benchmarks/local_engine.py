"""The local engine beside transformers' own ways of decoding, and a fork beside a prefill.

    python -m tests.benchmarks.local_engine [--layers 8] [--hidden 256] [--tokens 64] [--continuous]

A random Llama in float32, `--threads` CPU threads for everybody, greedy, prompts of about 60 tokens
that share nothing. Runs are interleaved; medians, and the spread from the least to the most. CPU time
is of the whole process and tells more than the clock where the machine has other work.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.sampling import SamplingParams
from flowdecode_backends.local.backend import Local
from flowdecode_backends.local.model import Source
from tests.backends.local.tokenizers import make_tokenizer

_transformers: Any = transformers
VOCABULARY = 4096


def make(folder: Path, layers: int, hidden: int) -> Any:
    """A random model and a tokenizer, saved in a folder."""
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    config = _transformers.LlamaConfig(
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=max(1, hidden // 64),
        vocab_size=VOCABULARY,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = _transformers.AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    make_tokenizer("qwen3").save_pretrained(folder)
    return model


def prompt(number: int, round_: int) -> str:
    return f"{round_}.{number} Compare tea with coffee, cocoa and water; answer briefly. " * 4


def request(context: Context, tokens: int, name: str) -> Request:
    sampling = SamplingParams(temperature=0, max_tokens=tokens)
    return Request(id=f"{name}-", run_id=name, context=context, sampling=sampling)


async def local_decode(backend: Local, number: int, round_: int, tokens: int) -> int:
    context = Context.of([Block("user", prompt(number, round_))])
    async with backend.decode(request(context, tokens, f"{round_}.{number}")) as stream:
        async for _ in stream:
            pass
    return stream.usage.completion_tokens


async def local_batch(backend: Local, width: int, round_: int, tokens: int) -> int:
    return sum(await asyncio.gather(*(local_decode(backend, n, round_, tokens) for n in range(width))))


def measure(work: Callable[[], int]) -> tuple[float, float]:
    """Tokens per second by the clock, and per second of CPU time."""
    clock, cpu = time.perf_counter(), time.process_time()
    count = work()
    return count / (time.perf_counter() - clock), count / (time.process_time() - cpu)


def summary(values: list[tuple[float, float]]) -> str:
    clock, cpu = zip(*values, strict=True)
    return (
        f"{statistics.median(clock):7.0f} tok/s ({min(clock):.0f} to {max(clock):.0f}), "
        f"{statistics.median(cpu):7.0f} per CPU second ({min(cpu):.0f} to {max(cpu):.0f})"
    )


async def first_token(backend: Local, context: Context, name: str) -> float:
    started = time.perf_counter()
    async with backend.decode(request(context, 1, name)) as stream:
        async for _ in stream:
            pass
    return time.perf_counter() - started


async def forks(backend: Local, children: int, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds until all children of a 1,000-token context have a token: behind it, and computing it anew."""
    behind: list[float] = []
    anew: list[float] = []
    words = "tea and coffee " * 330
    for round_ in range(repeats):
        for kept, seconds in ((True, behind), (False, anew)):
            heads = [
                Block("user", f"{round_} {kept} {'' if kept else child} {words}") for child in range(children)
            ]
            await first_token(backend, Context.of(heads[:1]), f"warm{round_}{kept}")
            own = [Context.of([head, Block("user", f"Part {n}.")]) for n, head in enumerate(heads)]
            started = time.perf_counter()
            await asyncio.gather(
                *(first_token(backend, context, f"f{round_}{kept}{n}") for n, context in enumerate(own))
            )
            seconds.append(time.perf_counter() - started)
    return behind, anew


def continuous_batching(model: Any, prompts: list[list[int]], tokens: int) -> int:
    config = _transformers.GenerationConfig(
        max_new_tokens=tokens, do_sample=False, eos_token_id=-1, pad_token_id=0
    )
    # Its own guess at the sizes takes most of a CPU's memory and is 40 times slower here.
    sizes = _transformers.ContinuousBatchingConfig(num_blocks=2 * len(prompts) + 8, max_batch_tokens=256)
    answers = model.generate_batch(
        inputs=prompts,
        generation_config=config,
        continuous_batching_config=sizes,
        progress_bar=False,
        warmup=False,
    )
    return sum(len(answer.generated_tokens) for answer in answers.values())


def generate(model: Any, prompts: list[list[int]], tokens: int) -> int:
    """One padded batch; the prompts have nearly the same length."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts])
    out = model.generate(
        ids,
        attention_mask=(ids != 0).long(),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    return int(out[:, longest:].numel())


def peers(
    runner: asyncio.Runner, backend: Local, model: Any, width: int, round_: int, arguments: argparse.Namespace
) -> dict[str, Callable[[], int]]:
    """One round's work of each; returns the tokens that were decoded."""
    tokens = arguments.tokens
    prompts = [make_tokenizer("qwen3").encode(prompt(number, round_)) for number in range(width)]
    jobs: dict[str, Callable[[], int]] = {
        "flowdecode": lambda: runner.run(local_batch(backend, width, round_, tokens)),
        "generate": lambda: generate(model, prompts, tokens),
    }
    if arguments.continuous:
        jobs["continuous batching"] = lambda: continuous_batching(model, prompts, tokens)
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("layers", 8), ("hidden", 256), ("tokens", 64), ("repeats", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--continuous", action="store_true", help="also transformers' continuous batching")
    arguments = parser.parse_args()
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name, asyncio.Runner() as runner:
        folder = Path(name)
        model = make(folder, arguments.layers, arguments.hidden)
        backend = runner.run(Local(Source(name, device="cpu"), threads=arguments.threads).__aenter__())
        parameters = sum(parameter.numel() for parameter in model.parameters())
        print(
            f"{parameters / 1e6:.1f} million parameters, {arguments.threads} thread(s), "
            f"{arguments.tokens} tokens each"
        )
        for width in arguments.widths:
            found: dict[str, list[tuple[float, float]]] = {}
            for round_ in range(arguments.repeats + 1):
                for peer, job in peers(runner, backend, model, width, round_, arguments).items():
                    result = measure(job)
                    if round_:  # the first round warms up
                        found.setdefault(peer, []).append(result)
            for peer, values in found.items():
                print(f"width {width:2}  {peer:20} {summary(values)}", flush=True)
        behind, anew = runner.run(forks(backend, 8, arguments.repeats))
        print(
            f"8 children of 1,000 tokens, seconds until all have a token: {statistics.median(behind):.3f} "
            f"behind the prefix, {statistics.median(anew):.3f} computing it anew"
        )


if __name__ == "__main__":
    main()
