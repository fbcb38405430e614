"""Speedup and quality of samples; the engines are scripted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flowdecode
from flowdecode.backend import Request
from flowdecode.errors import ConfigurationError
from flowdecode.flow import Flow
from flowdecode.result import Result
from flowdecode_backends.scripted import Reply, Scripted
from flowdecode_backends.simulated import simulate
from flowdecode_graphs.atlas import reference
from flowdecode_graphs.evaluation.answers import Folder
from flowdecode_graphs.evaluation.items import Item, atlas_items
from flowdecode_graphs.pasta.training.progress import SILENT, Progress
from flowdecode_graphs.pasta.training.samples import Sample, Sampling, answer_once, draw
from flowdecode_graphs.pasta.training.scores import (
    AtlasScorer,
    JudgeScorer,
    Score,
    Scorer,
    check_atlas,
    score_all,
)
from tests.graphs.pasta.scripts import PLAIN, pasta

SAMPLING = Sampling(samples=2, concurrency=1)
ITEM = Item(prompt="Tea, or coffee?")


def connect(reply: Any) -> Any:
    backend = Scripted(reply)

    def connected(url: str) -> Flow:
        return flowdecode.connect(backend)

    return connected


def words(text: str) -> int:
    return len(text.split())


async def sampled(
    folder: Folder,
    scorer: Scorer,
    *,
    plain: str | None = None,
    items: list[Item] | None = None,
    reply: Any = None,
) -> tuple[list[Sample], list[Score]]:
    wanted = items or [ITEM]
    connected = connect(reply or pasta())
    samples = await draw(folder, "sglang://there:1", wanted, SAMPLING, connect=connected, form="causal")
    baseline: dict[str, Result] | None = None
    if plain is not None:
        path = Folder(folder.path / "baseline")
        answering = connect([Reply(plain)] * (len(wanted) + 1))
        baseline = await answer_once(path, "sglang://there:2", wanted, SAMPLING, connect=answering)
    return samples, await score_all(folder, samples, scorer, baseline=baseline, count=words)


def judging(say: Callable[[str], str]) -> tuple[JudgeScorer, list[Request]]:
    def reply(request: Request) -> Reply:
        return Reply(say(request.context.messages()[-1]["content"]))

    backend = Scripted(reply)

    def connected(url: str) -> Flow:
        return flowdecode.connect(backend)

    return JudgeScorer("openai://judge:1/v1", connect=connected), backend.requests


def prefers(better: str) -> Callable[[str], str]:
    """A judge that knows what it wants, wherever that stands."""

    def say(asked: str) -> str:
        first, second = asked.partition("Answer 1:")[2].split("Answer 2:")
        return "Verdict: 1" if better in first else "Verdict: 2" if better in second else "Verdict: tie"

    return say


def first(asked: str) -> str:
    return "Verdict: 1"


def unreadable(asked: str) -> str:
    return "They are \N{SHRUG}."


def undecided(asked: str) -> str:
    return "Verdict: 1" if "Answer 1:\nNothing" in asked else "Verdict: tie"


@pytest.mark.parametrize(
    ("say", "quality"),
    [
        (prefers("So drink tea"), 1.0),
        (prefers("Nothing"), 0.0),
        (prefers("nowhere"), 0.5),
        (first, 0.5),
        (unreadable, 0.5),
        (undecided, 0.25),
    ],
)
def test_a_judge_is_asked_in_both_orders(tmp_path: Path, say: Any, quality: float) -> None:
    scorer, requests = judging(say)
    _, scores = simulate(sampled(Folder(tmp_path), scorer, plain="Nothing to say."))
    assert [score.quality for score in scores] == [quality, quality]
    assert len(requests) == 4
    again, asked = judging(say)
    _, same = simulate(sampled(Folder(tmp_path), again, plain="Nothing to say."))
    assert same == scores
    assert asked == [], "verdicts are kept"


def test_the_same_answer_needs_no_judge(tmp_path: Path) -> None:
    scorer, requests = judging(first)
    _, scores = simulate(sampled(Folder(tmp_path), scorer, plain=PLAIN))
    assert [score.quality for score in scores] == [0.5, 0.5]
    assert requests == []


def test_the_speedup_is_over_the_baseline_s_tokens_or_the_own_plain_text_s(tmp_path: Path) -> None:
    scorer, _ = judging(first)
    samples, scores = simulate(sampled(Folder(tmp_path), scorer, plain="One two three four"))
    baseline = simulate(
        flowdecode.run("Tea?", backend=Scripted([Reply("One two three four")]), strategy="sequential")
    )
    assert scores[0].speedup == baseline.work / samples[0].result.span

    class Fair:
        async def qualities(
            self, folder: Folder, samples: Any, baseline: Any, progress: Progress = SILENT
        ) -> list[float]:
            return [0.5, 0.5]

    samples, scores = simulate(sampled(Folder(tmp_path), Fair()))
    assert scores[0].speedup == (words(PLAIN) + 1) / samples[0].result.span


def test_the_atlas_tells_its_exact_score(tmp_path: Path) -> None:
    items = atlas_items("train", 12, seed=3)
    answers = {item.prompt: reference(item.question).text for item in items if item.question}

    def reply(request: Request) -> Reply:
        prompt = request.context.messages()[-1]["content"]
        return Reply(answers[prompt] if items[0].prompt != prompt else "Sorry.")

    samples, scores = simulate(sampled(Folder(tmp_path), AtlasScorer(), items=items, reply=reply))
    qualities = {sample.item.id: score.quality for sample, score in zip(samples, scores, strict=True)}
    assert qualities.pop(items[0].id) == 0.0
    assert set(qualities.values()) == {1.0}
    assert all(score.well_formed for score in scores)


def test_the_atlas_scores_no_other_prompts() -> None:
    with pytest.raises(ConfigurationError, match="Expected questions of the Atlas"):
        check_atlas([*atlas_items("train", 3, seed=1), ITEM])


def test_broken_samples_are_scored_as_they_are(tmp_path: Path) -> None:
    scorer, _ = judging(prefers("Tea."))
    _, scores = simulate(
        sampled(Folder(tmp_path), scorer, plain="Nothing.", reply=pasta(("Tea.</async><sync/>",)))
    )
    assert [(score.quality, score.well_formed) for score in scores] == [(1.0, False)] * 2


def test_a_prompt_without_a_plain_answer_has_no_scores(tmp_path: Path) -> None:
    class Never:
        async def qualities(
            self, folder: Folder, samples: Any, baseline: Any, progress: Progress = SILENT
        ) -> list[float]:
            assert not samples
            return []

    engine = connect(pasta())
    samples = simulate(
        draw(Folder(tmp_path), "sglang://there:1", [ITEM], SAMPLING, connect=engine, form="causal")
    )
    assert len(samples) == 2
    assert simulate(score_all(Folder(tmp_path), samples, Never(), baseline={}, count=words)) == []
