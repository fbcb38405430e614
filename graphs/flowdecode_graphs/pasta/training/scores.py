"""How good samples are: theoretical speedup, and quality by an exact score or a judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

import flowdecode
from flowdecode.cli.comparison import Comparison
from flowdecode.errors import ConfigurationError
from flowdecode.flow import Flow
from flowdecode.result import Result
from flowdecode_graphs.atlas import score
from flowdecode_graphs.evaluation.answers import Folder, Judgement
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.evaluation.judge import Judge
from flowdecode_graphs.evaluation.measures import Pair
from flowdecode_graphs.evaluation.verdicts import by_judge
from flowdecode_graphs.pasta.training.progress import SILENT, Progress
from flowdecode_graphs.pasta.training.samples import Sample

__all__ = ["AtlasScorer", "JudgeScorer", "Score", "Scorer", "check_atlas", "score_all"]


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One sample's."""

    item: str
    """The prompt's id."""
    sample: int
    speedup: float
    """Theoretical: a plain answer's tokens over the span."""
    quality: float
    """From 0 to 1."""
    well_formed: bool
    """Whether what was decoded is a document of PASTA-LANG; if not, it is never preferred."""


class Scorer(Protocol):
    """Tells the quality of samples."""

    async def qualities(
        self,
        folder: Folder,
        samples: Sequence[Sample],
        baseline: Mapping[str, Result],
        progress: Progress = SILENT,
    ) -> list[float]:
        """From 0 to 1, in the order of `samples`, which lie in `folder`; `baseline` has plain answers."""
        ...


class AtlasScorer:
    """The exact score of the Atlas's questions."""

    async def qualities(
        self,
        folder: Folder,
        samples: Sequence[Sample],
        baseline: Mapping[str, Result],
        progress: Progress = SILENT,
    ) -> list[float]:
        progress.begin(len(samples))
        found: list[float] = []
        for sample in samples:
            assert sample.item.question is not None, "it was looked at before"
            found.append(score(sample.item.question, sample.result.text).value)
            progress.done()
        return found


def check_atlas(items: Iterable[Item]) -> None:
    """Raises ConfigurationError where a prompt is not the Atlas's, so that it has no exact score."""
    for item in items:
        if item.question is None:
            raise ConfigurationError(
                f"Expected questions of the Atlas (`--prompts atlas`), got {item.prompt[:60]!r} - at "
                "--scorer atlas. Use --judge for other prompts."
            )


class JudgeScorer:
    """A model that compares a sample with the baseline's answer, in both orders.

    A win is 1, a tie 1/2, a loss 0, and the quality the mean of both orders.
    """

    def __init__(
        self,
        url: str,
        *,
        concurrency: int = 32,
        connect: Callable[[str], Flow] = flowdecode.connect,
    ) -> None:
        self._url = url
        self._concurrency = concurrency
        self._connect = connect

    async def qualities(
        self,
        folder: Folder,
        samples: Sequence[Sample],
        baseline: Mapping[str, Result],
        progress: Progress = SILENT,
    ) -> list[float]:
        """Asks what was not asked yet. Raises FlowdecodeError; what was judged is kept."""
        pairs = [
            Pair(sample.item, sample.answered, sample.result, baseline[sample.item.id]) for sample in samples
        ]
        judge = Judge(
            folder, pairs, self._url, concurrency=self._concurrency, connect=self._connect, done=progress.done
        )
        progress.begin(len(judge.pending))
        await judge.run()
        told: dict[tuple[str, int], list[Judgement]] = defaultdict(list)
        for judged in folder.judgements():
            told[judged.item, judged.repeat].append(judged)
        return [_preference(pair, told[pair.item.id, pair.answered.repeat]) for pair in pairs]


def _preference(pair: Pair, judgements: Sequence[Judgement]) -> float:
    """What was not judged is the same answer, byte for byte: a tie."""
    verdicts = by_judge([pair], judgements)
    return verdicts[0].preference if verdicts else 0.5


async def score_all(
    folder: Folder,
    samples: Sequence[Sample],
    scorer: Scorer,
    *,
    baseline: Mapping[str, Result] | None,
    count: Callable[[str], int],
    progress: Progress = SILENT,
) -> list[Score]:
    """Every sample's score, in order; of prompts whose baseline has no answer, none.

    Without a baseline the speedup is over the sample's own plain text, by `count` tokens, and its end.
    """
    known: Mapping[str, Result] = {} if baseline is None else baseline
    scored = [sample for sample in samples if baseline is None or sample.item.id in baseline]
    qualities = await scorer.qualities(folder, scored, known, progress)
    return [
        Score(
            item=sample.item.id,
            sample=sample.number,
            speedup=_speedup(sample.result, known.get(sample.item.id), count),
            quality=quality,
            well_formed=sample.transcript.well_formed,
        )
        for sample, quality in zip(scored, qualities, strict=True)
    ]


def _speedup(result: Result, sequential: Result | None, count: Callable[[str], int]) -> float:
    if sequential is not None:
        return Comparison(result, sequential).theoretical_speedup
    return (count(result.text) + 1) / result.span if result.span else 1.0
