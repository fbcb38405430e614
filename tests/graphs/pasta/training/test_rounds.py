"""The second stage as a whole, on a tiny model that says now one answer, now another."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any

import msgspec
import pytest

import flowdecode
from flowdecode.backend import Request
from flowdecode.errors import ConfigurationError, FlowdecodeError
from flowdecode.flow import Flow
from flowdecode.result import Result
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_graphs.evaluation.answers import Folder
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.pasta.document import Document
from flowdecode_graphs.pasta.training.progress import SILENT, Progress
from flowdecode_graphs.pasta.training.rows import Example
from flowdecode_graphs.pasta.training.samples import Sample, Sampling, draw
from tests.backends.local.models import save
from tests.graphs.pasta.scripts import pasta

torch: Any = pytest.importorskip("torch")
pytest.importorskip("accelerate")
collate: Any = pytest.importorskip("flowdecode_graphs.pasta.training.collate")
conversation: Any = pytest.importorskip("flowdecode_graphs.pasta.training.conversation")
models: Any = pytest.importorskip("flowdecode_graphs.pasta.training.models")
preferences: Any = pytest.importorskip("flowdecode_graphs.pasta.training.preferences")
stage: Any = pytest.importorskip("flowdecode_graphs.pasta.training.rounds")

from tests.graphs.pasta.training.models import ANSWERS, PROMPTS, save_taught  # noqa: E402

pytestmark = pytest.mark.timeout(120)  # seconds of work, on a machine that may be busy

ITEMS = [Item(prompt=prompt) for prompt in PROMPTS]
SAMPLING = Sampling(samples=6, max_tokens=100, seed=7)
BETTER = Document.parse(ANSWERS[1]).text
"""The plain text that the tests' scorer likes; the model says it one time in three."""


def steps(**settings: Any) -> Any:
    values = {"rate": 3e-3, "batch": 1, "epochs": 3, "beta": 0.1, "bf16": False, "save_steps": 1, **settings}
    return preferences.Steps(**values)


class Likes:
    """A scorer that likes one text."""

    async def qualities(
        self,
        folder: Folder,
        samples: Sequence[Sample],
        baseline: Mapping[str, Result],
        progress: Progress = SILENT,
    ) -> list[float]:
        return [float(sample.result.text == BETTER) for sample in samples]


class Watched:
    """What went on: by stage, how much was to be done. It may kill a run in a stage."""

    def __init__(self, kill: Callable[[str, int], bool] = lambda title, done: False) -> None:
        self.begun: dict[str, int] = {}
        self._kill = kill

    @contextmanager
    def __call__(self, title: str) -> Generator[_Progress]:
        yield _Progress(self, title, self._kill)


class _Progress:
    def __init__(self, watched: Watched, title: str, kill: Callable[[str, int], bool]) -> None:
        self._watched = watched
        self._title = title
        self._kill = kill
        self._done = 0

    def begin(self, total: int) -> None:
        self._watched.begun[self._title] = total
        self._check()

    def done(self) -> None:
        self._done += 1
        self._check()

    def _check(self) -> None:
        if self._kill(self._title, self._done):
            raise _Killed


class _Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_taught(tmp_path_factory.mktemp("taught"))


def rounds(out: Path, model: Path, watched: Watched | None = None, **settings: Any) -> Any:
    connect = settings.pop("connect", flowdecode.connect)
    items = settings.pop("items", ITEMS)
    values = {"quality": "likes", "sampling": SAMPLING, "steps": steps(), **settings}

    return stage.Rounds(
        out,
        stage.Settings(model=str(model), **values),
        items,
        Likes(),
        watch=watched or Watched(),
        connect=connect,
    )


def margins(model: Path, best: str, worst: str) -> list[tuple[float, float]]:
    """The log-probabilities of two answers to each prompt."""
    loaded = models.load_trainable(model, add_tags=False)
    talk = conversation.Conversation(loaded.tokenizer)
    pairs = [
        preferences.EncodedPair(*(collate.encode(Example(prompt, answer), talk) for answer in (best, worst)))
        for prompt in PROMPTS
    ]
    found: list[tuple[float, float]] = preferences.log_probs(loaded.model, pairs, steps())
    return found


def weights(model: Path) -> bytes:
    return (model / "model.safetensors").read_bytes()


def test_what_is_preferred_becomes_likelier_and_the_next_round_samples_its_own_model(
    taught: Path, tmp_path: Path
) -> None:
    (first,) = rounds(tmp_path, taught).run(["8"], 1)
    assert (first.number, first.samples, first.prompts, first.well_formed) == (1, 12, 2, 1.0)
    assert first.pairs == 2
    lines = (tmp_path / "lambda-8/round-1/pairs.jsonl").read_bytes().splitlines()
    pairs = [json.loads(line) for line in lines]
    assert {pair["prompt"] for pair in pairs} == set(PROMPTS)
    model = tmp_path / first.model
    for pair in pairs:
        assert pair["best"] == ANSWERS[1]
        before, after = (margins(path, pair["best"], pair["worst"]) for path in (taught, model))
        for (best, worst), (better, worse) in zip(before, after, strict=True):
            assert better - worse > best - worst + 1
            assert better > best
    kept, watched = weights(model), Watched()
    again, second = rounds(tmp_path, taught, watched).run(["8"], 2)
    assert again == first
    assert weights(model) == kept
    assert "lambda 8, round 1: steps" not in watched.begun
    assert watched.begun["lambda 8, round 2: samples"] == 12
    samples = Folder(tmp_path / "lambda-8/round-2/samples")
    assert samples.manifest().settings.backend == f"local:{model}"
    assert second.quality > first.quality
    assert json.loads((model / "flowdecode.json").read_bytes())["strategies"] == ["pasta"]


def test_all_weights_share_the_first_round_s_samples(taught: Path, tmp_path: Path) -> None:
    watched = Watched()
    done = list(rounds(tmp_path, taught, watched).run(["0", "inf"], 1))
    assert [one.weight for one in done] == ["0", "inf"]
    assert watched.begun == {
        "round 1: samples": 12,
        "lambda 0, round 1: steps": 6,
        "lambda inf, round 1: steps": 6,
    }
    fastest = msgspec.json.decode((tmp_path / "lambda-0/round-1/pairs.jsonl").read_bytes().splitlines()[0])
    assert fastest["best"] == ANSWERS[0], "tags cost more than they save here"
    best = msgspec.json.decode((tmp_path / "lambda-inf/round-1/pairs.jsonl").read_bytes().splitlines()[0])
    assert best["best"] == ANSWERS[1]


STAGES = [
    ("round 1: samples", 0),
    ("round 1: samples", 5),
    ("lambda 8, round 1: steps", 0),
    ("lambda 8, round 1: steps", 4),
    ("lambda 8, round 2: samples", 3),
    ("lambda 8, round 2: steps", 1),
]


@pytest.fixture(scope="module")
def undisturbed(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds in one go."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    list(rounds(out, taught).run(["8"], 2))
    return out


@pytest.mark.parametrize("place", STAGES, ids=str)
def test_a_run_that_was_killed_goes_on_to_the_same_end(
    taught: Path, undisturbed: Path, tmp_path: Path, place: tuple[str, int]
) -> None:
    killer = Watched(lambda title, done: (title, done) == place)
    with pytest.raises(_Killed):
        list(rounds(tmp_path, taught, killer).run(["8"], 2))
    drawn = {path: path.read_bytes() for path in tmp_path.rglob("answers/*/*.json")}
    watched = Watched()
    list(rounds(tmp_path, taught, watched).run(["8"], 2))
    assert drawn.items() <= {path: path.read_bytes() for path in tmp_path.rglob("answers/*/*.json")}.items()
    title, done = place
    if title.endswith("steps"):
        left = killer.begun[title] - max(0, done - 1)
        assert watched.begun[title] == left, "a step is done before its checkpoint is"
    else:
        here = [path for path in drawn if ("round-2" in path.parts) == ("round 2" in title)]
        assert len(here) >= done, "the others under way may have ended in the same step"
        assert watched.begun[title] == 12 - len(here), "what was drawn is not drawn again"
    for name in ("scores.jsonl", "pairs.jsonl", "reference.json", "round.json", "model/model.safetensors"):
        path = f"lambda-8/round-1/{name}"
        assert (tmp_path / path).read_bytes() == (undisturbed / path).read_bytes(), path
    assert not list(tmp_path.rglob("checkpoints")), "what only a run needs that goes on is gone"


def test_samples_are_learnt_as_they_were_decoded(taught: Path, tmp_path: Path) -> None:
    """Of a well-formed sample, that is what the first stage makes of its document."""
    folder = Folder(tmp_path / "samples")
    samples = asyncio.run(draw(folder, f"local:{taught}", ITEMS, SAMPLING))
    run = rounds(tmp_path / "out", taught)
    talk = conversation.Conversation(models.load_tokenizer(taught))
    for sample in samples:
        assert sample.transcript.well_formed
        learnt = run._encoded(sample, talk)
        document = collate.encode(Example(sample.item.prompt, str(sample.transcript)), talk)
        for ours, theirs in zip(learnt, document, strict=True):
            assert ours.tolist() == theirs.tolist()
        assert sample.result.work == learnt.predicted
    assert len({str(sample.transcript) for sample in samples}) > 1


def scripted(reply: Callable[[Request], Reply]) -> Callable[[str], Flow]:
    backend = Scripted(reply)
    return lambda url: flowdecode.connect(backend)


def test_a_model_that_only_breaks_its_tags_teaches_nothing(taught: Path, tmp_path: Path) -> None:
    run = rounds(tmp_path, taught, connect=scripted(pasta(("Tea.</async>",))))
    with pytest.raises(
        FlowdecodeError, match=r"got none of 2: of 12 samples that did not fail 0 are well-formed"
    ):
        list(run.run(["1"], 1))


def test_prompts_whose_samples_fail_are_left_out(taught: Path, tmp_path: Path) -> None:
    said: Iterator[str] = cycle([BETTER, "Tea.", "Tea is tea."])

    def reply(request: Request) -> Reply:
        if request.context.messages()[0]["content"] == PROMPTS[0]:
            return Reply("Tea", fault=Fault(0, "rejected"))
        return Reply(next(said))

    (done,) = rounds(tmp_path, taught, connect=scripted(reply)).run(["inf"], 1)
    assert (done.prompts, done.pairs, done.samples) == (1, 1, 6)


def test_a_later_round_without_pairs_keeps_the_model(taught: Path, tmp_path: Path) -> None:
    said: Iterator[str] = chain([BETTER, "Tea.", "Tea."] * 4, [BETTER], repeat(BETTER))

    def reply(request: Request) -> Reply:
        return Reply(next(said))

    first, second = rounds(tmp_path, taught, connect=scripted(reply)).run(["inf"], 2)
    assert (first.pairs, second.pairs) == (2, 0)
    assert second.model == first.model


def test_a_round_whose_samples_all_fail_is_not_done(taught: Path, tmp_path: Path) -> None:
    said: Iterator[str] = cycle([BETTER, "Tea.", "Tea is tea."])
    failing = False

    def reply(request: Request) -> Reply:
        return Reply("Tea", fault=Fault(0, "rejected")) if failing else Reply(next(said))

    run = rounds(tmp_path, taught, connect=scripted(reply))
    list(run.run(["inf"], 1))
    failing = True
    with pytest.raises(
        FlowdecodeError, match=r"got none that can be scored: .*in .*round-2/samples\. Remove it"
    ):
        list(run.run(["inf"], 2))
    failing = False
    shutil.rmtree(tmp_path / "lambda-inf/round-2/samples")
    assert [done.samples for done in run.run(["inf"], 2)] == [12, 12]


def by_requests(taught: Path, tmp_path: Path) -> Path:
    """The same model, as if it had been trained in the causal form."""
    folder = shutil.copytree(taught, tmp_path / "by requests")
    profile = json.loads((folder / "flowdecode.json").read_bytes())
    (folder / "flowdecode.json").write_text(json.dumps({**profile, "shared_kv": False}))
    return folder


def test_broken_samples_may_be_what_is_not_preferred(taught: Path, tmp_path: Path) -> None:
    broken = 'Tea </async>is <promise topic="t" tokens="5"/>so.'
    said: Iterator[str] = cycle([BETTER, broken, broken])

    def reply(request: Request) -> Reply:
        asked = request.context.messages()[-1]["content"]
        return Reply("T.</async>") if asked.endswith("<async>") else Reply(next(said))

    run = rounds(tmp_path, by_requests(taught, tmp_path), connect=scripted(reply))
    (done,) = run.run(["inf"], 1)
    assert 0 < done.well_formed < 1
    assert models.form_of(tmp_path / done.model) == "causal", "as the first stage's"
    pair = json.loads((tmp_path / "lambda-inf/round-1/pairs.jsonl").read_bytes().splitlines()[0])
    assert "</async>is <promise" in pair["worst"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": msgspec.structs.replace(SAMPLING, samples=8)}, "`samples` is 6, got 8"),
        ({"quality": "atlas"}, "`quality` is 'likes', got 'atlas'"),
        ({"steps": steps(rate=1.0)}, "`rate` is 0.003, got 1.0"),
        ({"items": ITEMS[:1]}, "`prompts` is '2 prompts"),
    ],
)
def test_other_settings_are_refused(
    taught: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    rounds(tmp_path, taught)
    rounds(tmp_path, taught, steps=steps(at_once=1, save_steps=7))  # of memory and disk alone
    with pytest.raises(ConfigurationError) as caught:
        rounds(tmp_path, taught, **settings)
    assert message in str(caught.value)


def test_a_model_without_tags_is_refused(tmp_path: Path) -> None:
    untaught = save(tmp_path / "model", "llama")
    with pytest.raises(ConfigurationError, match="Expected a model that `train sft` wrote"):
        rounds(tmp_path / "out", untaught)


def test_a_model_without_its_profile_is_refused(taught: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(taught, tmp_path / "bare")
    (bare / "flowdecode.json").unlink()
    with pytest.raises(
        ConfigurationError, match=r"whose flowdecode\.json does not tell its tags - at --model"
    ):
        rounds(tmp_path / "out", bare)


def test_a_learning_rate_that_is_too_high_is_told(taught: Path, tmp_path: Path) -> None:
    run = rounds(tmp_path, taught, steps=steps(rate=float("inf")))
    with pytest.raises(FlowdecodeError, match="Expected finite weights"):
        list(run.run(["8"], 1))
