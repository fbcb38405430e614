"""The second stage: sample, score, pair, learn; round by round, and for every weight of quality.

Everything lies in one folder, from which a run that was stopped goes on:

    prefer.json                 the settings
    baseline/                   plain answers
    samples/                    the first round's samples, which serve all weights, and what a judge says
    lambda-4/round-1/           a weight's round: scores.jsonl, pairs.jsonl, round.json, and its model
    lambda-4/round-2/samples/   what the first round's model says
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

import flowdecode
from flowdecode.backend import ModelProfile
from flowdecode.errors import ConfigurationError, FlowdecodeError
from flowdecode.flow import Flow
from flowdecode.result import Result
from flowdecode_graphs.evaluation.answers import Folder
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.files import write_whole
from flowdecode_graphs.pasta.language import ASYNC
from flowdecode_graphs.pasta.layout import Form, Said, lay_out
from flowdecode_graphs.pasta.training.collate import Encoded, encode_layout
from flowdecode_graphs.pasta.training.conversation import Conversation
from flowdecode_graphs.pasta.training.models import form_of, load_tokenizer, load_trainable, save_model
from flowdecode_graphs.pasta.training.pairs import Pair, pairs_of
from flowdecode_graphs.pasta.training.preferences import EncodedPair, Steps, train
from flowdecode_graphs.pasta.training.progress import Progress
from flowdecode_graphs.pasta.training.samples import Sample, Sampling, answer_once, draw, url_of
from flowdecode_graphs.pasta.training.scores import Score, Scorer, score_all

__all__ = ["Round", "Rounds", "Settings", "Watch"]

_log = logging.getLogger("flowdecode")
_RESOURCES = {"at_once", "save_steps"}
"""Settings that a run may go on with other values of."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What all of a folder depends on."""

    model: str
    """The folder of the first stage's model."""
    prompts: str = ""
    """What they are: a digest of all."""
    baseline: str | None = None
    """The URL of the engine that answers plainly; None: samples are compared with their own plain text."""
    quality: str
    """`atlas`, or the judge's URL."""
    sampling: Sampling
    steps: Steps


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a round."""

    weight: str
    """Of quality: lambda."""
    number: int
    samples: int
    well_formed: float
    """The share of samples that are documents of PASTA-LANG."""
    speedup: float
    """Theoretical; the geometric mean of the samples that have tokens."""
    quality: float
    """The mean of all samples."""
    prompts: int
    pairs: int
    model: str
    """The folder of the round's model, within the whole: the last round's, where there were no pairs."""


Watch = Callable[[str], AbstractContextManager[Progress]]
"""Shows how a stage of this title goes on."""


class Rounds:
    """The stage under way. What is done in the folder is not done again."""

    def __init__(
        self,
        out: Path,
        settings: Settings,
        items: Sequence[Item],
        scorer: Scorer,
        *,
        watch: Watch,
        connect: Callable[[str], Flow] = flowdecode.connect,
    ) -> None:
        """Raises ConfigurationError where the folder is of other settings."""
        self._out = out
        self._settings = msgspec.structs.replace(settings, prompts=_digest(items))
        self._items = items
        self._scorer = scorer
        self._watch = watch
        self._connect = connect
        self._baseline: dict[str, Result] | None = None
        self._first: tuple[list[Sample], list[Score]] | None = None
        self._check()
        self._form: Form = form_of(settings.model)

    def run(self, weights: Iterable[str], rounds: int) -> Iterator[Round]:
        """Every weight's rounds, each told when it is done. Raises FlowdecodeError; what was done is kept."""
        for weight in weights:
            model = Path(self._settings.model)
            for number in range(1, rounds + 1):
                folder = self._out / f"lambda-{weight}" / f"round-{number}"
                if not (folder / "round.json").exists():
                    _write(folder / "round.json", [self._round(weight, number, model, folder)])
                    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
                done = msgspec.json.decode((folder / "round.json").read_bytes(), type=Round)
                yield done
                model = self._out / done.model

    def _round(self, weight: str, number: int, model: Path, folder: Path) -> Round:
        title = f"lambda {weight}, round {number}: "
        if number == 1:
            if self._first is None:
                self._first = self._sample(self._out / "samples", model, "round 1: ")
            samples, scores = self._first
        else:
            samples, scores = self._sample(folder / "samples", model, title)
        if not scores:
            place = (self._out if number == 1 else folder) / "samples"
            raise FlowdecodeError(
                "Expected samples, got none that can be scored: their decoding failed, or the baseline's - "
                f"in {place}. Remove it to have them decoded again."
            )
        pairs = pairs_of(scores, float(weight))
        _write(folder / "scores.jsonl", scores)
        known = {(sample.item.id, sample.number): sample for sample in samples}
        _write(folder / "pairs.jsonl", (_shown(pair, known) for pair in pairs))
        learnt = self._learn(pairs, known, model, folder, title)
        if not learnt and number == 1:
            whole = sum(score.well_formed for score in scores)
            raise FlowdecodeError(
                f"Expected prompts whose samples differ in score, got none of {len(self._items):,}: of "
                f"{len(samples):,} samples that did not fail {whole:,} are well-formed - in {self._out}. "
                "Sample more (--samples), hotter (--temperature) or longer (--max-tokens), or train the "
                "model longer."
            )
        return Round(
            weight=weight,
            number=number,
            samples=len(scores),
            well_formed=_mean([float(score.well_formed) for score in scores]),
            speedup=math.exp(_mean([math.log(score.speedup) for score in scores if score.speedup > 0])),
            quality=_mean([score.quality for score in scores]),
            prompts=len({score.item for score in scores}),
            pairs=learnt,
            model=str((folder / "model" if learnt else model).relative_to(self._out)),
        )

    def _sample(self, path: Path, model: Path, title: str) -> tuple[list[Sample], list[Score]]:
        return asyncio.run(self._sample_and_score(Folder(path), model, title))

    async def _sample_and_score(
        self, folder: Folder, model: Path, title: str
    ) -> tuple[list[Sample], list[Score]]:
        settings = self._settings
        if settings.baseline is not None and self._baseline is None:
            with self._watch("baseline") as progress:
                self._baseline = await answer_once(
                    Folder(self._out / "baseline"),
                    settings.baseline,
                    self._items,
                    settings.sampling,
                    connect=self._connect,
                    progress=progress,
                )
        with self._watch(f"{title}samples") as progress:
            samples = await draw(
                folder,
                url_of(model),
                self._items,
                settings.sampling,
                connect=self._connect,
                form=self._form,
                progress=progress,
            )
        with self._watch(f"{title}quality") as progress:
            scores = await score_all(
                folder,
                samples,
                self._scorer,
                baseline=self._baseline,
                count=Conversation(load_tokenizer(model)).count,
                progress=progress,
            )
        return samples, scores

    def _learn(
        self,
        pairs: Sequence[Pair],
        samples: dict[tuple[str, int], Sample],
        model: Path,
        folder: Path,
        title: str,
    ) -> int:
        """Train the round's model; how many pairs it learnt from."""
        trainable = load_trainable(model, add_tags=False)  # what it was sampled with, and no token more
        conversation = Conversation(trainable.tokenizer)
        encoded: list[EncodedPair] = []
        for pair in pairs:
            best, worst = (
                self._encoded(samples[score.item, score.sample], conversation)
                for score in (pair.best, pair.worst)
            )
            if max(best.reach, worst.reach) <= trainable.context:
                encoded.append(EncodedPair(best, worst))
        if left_out := len(pairs) - len(encoded):
            _log.warning("Left out %d of %d pairs: longer than the model's context.", left_out, len(pairs))
        if not encoded:
            return 0
        with self._watch(f"{title}steps") as progress:
            train(trainable.model, encoded, folder, self._settings.steps, progress=progress)
        unfinished = folder / "model.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        save_model(trainable, unfinished, form=self._form)
        shutil.rmtree(folder / "model", ignore_errors=True)
        unfinished.rename(folder / "model")
        return len(encoded)

    def _encoded(self, sample: Sample, conversation: Conversation) -> Encoded:
        head = conversation.head(sample.item.prompt, self._settings.sampling.system)
        parts = sample.transcript.tokenized(conversation.encode, [conversation.end])
        return encode_layout(lay_out([Said(head), *parts], self._form), len(head))

    def _check(self) -> None:
        if ASYNC not in ModelProfile.read(Path(self._settings.model)).tags:
            raise ConfigurationError(
                f"Expected a model that `train sft` wrote, got {self._settings.model!r}, whose "
                "flowdecode.json does not tell its tags - at --model."
            )
        path = self._out / "prefer.json"
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            if path.exists():
                before = msgspec.json.decode(path.read_bytes(), type=Settings)
                _refuse_others(before, self._settings, self._out)
                return
            _write(path, [self._settings])
        except OSError as error:
            raise ConfigurationError(
                f"Expected a folder that can be written, got {str(self._out)!r}: {error.strerror} - at --out."
            ) from None
        except msgspec.MsgspecError as error:
            raise ConfigurationError(f"Expected what `train prefer` wrote, got {path}: {error}.") from None


def _refuse_others(before: msgspec.Struct, now: msgspec.Struct, where: Path) -> None:
    for name in before.__struct_fields__:
        was, wanted = getattr(before, name), getattr(now, name)
        if isinstance(was, msgspec.Struct) and isinstance(wanted, msgspec.Struct):
            _refuse_others(was, wanted, where)
        elif was != wanted and name not in _RESOURCES:
            raise ConfigurationError(
                f"Expected the settings of what is there, where `{name}` is {was!r}, got {wanted!r} - in "
                f"{where}. Use the same one, or another folder."
            )


def _shown(pair: Pair, samples: dict[tuple[str, int], Sample]) -> dict[str, object]:
    """A pair for its reader: training takes the samples themselves."""
    best, worst = (samples[score.item, score.sample] for score in (pair.best, pair.worst))
    return {
        "prompt": best.item.prompt,
        "best": str(best.transcript),
        "worst": str(worst.transcript),
        "best_score": pair.best,
        "worst_score": pair.worst,
    }


def _digest(items: Iterable[Item]) -> str:
    ids = sorted(item.id for item in items)
    return f"{len(ids)} prompts, {hashlib.sha256(''.join(ids).encode()).hexdigest()[:12]}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _write(path: Path, lines: Iterable[object]) -> None:
    write_whole(path, msgspec.json.Encoder().encode_lines(lines))
