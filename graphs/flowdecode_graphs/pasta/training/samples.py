"""Samples: several answers to each prompt, decoded by the interpreter itself; one file for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

import flowdecode
from flowdecode.flow import Flow
from flowdecode.result import Result
from flowdecode.strategy import Strategy
from flowdecode_graphs.evaluation.answers import Answered, Folder, Manifest, Settings
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.evaluation.runner import Runner
from flowdecode_graphs.evaluation.variants import BASELINE, Variant
from flowdecode_graphs.pasta import Pasta
from flowdecode_graphs.pasta.layout import Form
from flowdecode_graphs.pasta.training.progress import SILENT, Progress
from flowdecode_graphs.pasta.transcript import Transcript, transcript
from flowdecode_graphs.sequential import Sequential

__all__ = ["Sample", "Sampling", "answer_once", "draw", "url_of"]

VARIANT = "pasta"


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How prompts are answered."""

    samples: int
    """Answers to each prompt."""
    temperature: float = 1.0
    max_tokens: int = 1024
    """Of all threads of an answer together."""
    seed: int = 0
    """Sample n is drawn with `seed` + n."""
    system: str | None = None
    concurrency: int = 32
    """Prompts at once."""


class Sample:
    """One answer to a prompt, with what was really decoded."""

    def __init__(self, item: Item, answered: Answered, result: Result, form: Form) -> None:
        self.item = item
        self.answered = answered
        self.result = result
        self._form: Form = form

    @property
    def number(self) -> int:
        """From 1 on."""
        return self.answered.repeat

    @cached_property
    def transcript(self) -> Transcript:
        return transcript(self.result, self._form)


async def draw(
    folder: Folder,
    url: str,
    items: Sequence[Item],
    sampling: Sampling,
    *,
    connect: Callable[[str], Flow] = flowdecode.connect,
    form: Form = "shared",
    progress: Progress = SILENT,
) -> list[Sample]:
    """All samples of all prompts, but for those that failed; draws what is not in the folder yet.

    `form` says how threads are decoded. Raises FlowdecodeError.
    """
    strategy = Pasta(shared_kv=form == "shared")
    settings = _settings(url, sampling)
    answers = await _run(
        folder, settings, items, VARIANT, strategy, sampling.samples, connect=connect, progress=progress
    )
    known = {item.id: item for item in items}
    return [
        Sample(known[each.item], each, each.result, form)
        for each in answers
        if each.ok and each.result is not None and each.item in known and each.repeat <= sampling.samples
    ]


async def answer_once(
    folder: Folder,
    url: str,
    items: Sequence[Item],
    sampling: Sampling,
    *,
    connect: Callable[[str], Flow] = flowdecode.connect,
    progress: Progress = SILENT,
) -> dict[str, Result]:
    """The plain, greedy answer to each prompt, by the prompt's id; of those that failed, none."""
    settings = _settings(url, msgspec.structs.replace(sampling, temperature=0.0))
    answers = await _run(
        folder, settings, items, BASELINE, Sequential(), 1, connect=connect, progress=progress
    )
    return {each.item: each.result for each in answers if each.ok and each.result is not None}


def url_of(model: str | Path) -> str:
    """The backend's URL of a model's folder, or the URL itself."""
    return f"local:{model}" if Path(model).is_dir() else str(model)


def _settings(url: str, sampling: Sampling) -> Settings:
    return Settings(
        backend=url,
        system=sampling.system,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        seed=sampling.seed,
        concurrency=sampling.concurrency,
    )


async def _run(
    folder: Folder,
    settings: Settings,
    items: Sequence[Item],
    name: str,
    strategy: Strategy,
    repeat: int,
    *,
    connect: Callable[[str], Flow],
    progress: Progress,
) -> list[Answered]:
    manifest = Manifest(settings=settings, source="", items=tuple(items), variants=(name,), repeat=repeat)
    variants = (Variant(name=name, strategy=strategy),)
    runner = Runner(folder, folder.open(manifest), variants, connect=connect, done=progress.done)
    progress.begin(len(runner.pending))
    await runner.run()
    return folder.answers()
