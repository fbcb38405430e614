"""`flowdecode train`, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowdecode.cli import installed, main
from flowdecode_backends.scripted import Reply
from flowdecode_graphs.pasta.document import Document
from flowdecode_graphs.pasta.training.rows import Example, read_examples, write_examples

pytest.importorskip("peft")
torch: Any = pytest.importorskip("torch")

from tests.graphs.pasta.training.test_sft import EXAMPLES, new_model  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return new_model(tmp_path_factory.mktemp("train") / "base")


def train(*args: str | Path) -> int:
    return main(["train", *map(str, args)])


def test_sft_tells_what_it_did(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data.jsonl"
    write_examples(data, [*EXAMPLES, Example("Tea?", "Tea<sync/>")])
    args = ("sft", data, "--model", model, "--out", tmp_path / "out", "--steps", "2", "--validation", data)
    assert train(*args, "--json") == 0
    told = msgspec.json.decode(capsys.readouterr().out)
    assert told["examples"] == told["steps"] == 2
    assert sum(told["dropped"].values()) == 1
    assert train(*args) == 0
    told = capsys.readouterr()
    assert "2 examples, 2 steps, loss " in told.out
    assert "validation loss " in told.out


def test_annotate_asks_a_model_and_tells_what_was_dropped(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replies, answers, out = (tmp_path / name for name in ("replies.jsonl", "answers.jsonl", "out.jsonl"))
    replies.write_bytes(msgspec.json.encode(Reply("Tea.")))
    write_examples(answers, [Example("Tea?", "Tea."), Example("Coffee?", "Coffee.")])
    args = ("annotate", answers, "--model", model, "--out", out, "--backend", f"scripted:{replies}")
    assert train(*args, "--attempts", "1") == 0
    told = capsys.readouterr()
    assert told.out == f"1 annotated answers: {out}\n"
    assert "Dropped 1 answers: text changed. Reasons: " in told.err
    assert read_examples(out) == [Example("Tea?", "Tea.")]


def test_annotate_annotates_the_atlas_by_rule(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "atlas.jsonl"
    args = ("annotate", "--atlas", "30", "--split", "validation", "--model", model, "--out", out)
    assert train(*args, "--lengths", "exact", "--no-topic", "--no-sync") == 0
    rows = read_examples(out)
    assert len(rows) == 30
    text = "".join(str(Document.parse(row.answer, exact=True)) for row in rows)
    assert 'topic="part"' in text
    assert "<sync/>" not in text


@pytest.mark.parametrize("given", [[], ["answers.jsonl", "--atlas", "3"]])
def test_annotate_wants_one_source(
    given: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("annotate", *given, "--model", model, "--out", tmp_path / "out.jsonl") == 2
    assert "Expected either a FILE of answers or --atlas N" in capsys.readouterr().err


@pytest.mark.parametrize(("stage", "kind"), [("sft", "file"), ("annotate", "directory")])
def test_out_is_of_the_right_kind(
    stage: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.touch()
    else:
        out.mkdir()
    assert train(stage, tmp_path / "answers.jsonl", "--model", "base", "--out", out) == 2
    assert f"is a {kind}" in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize(
    "stage",
    [("sft", "x.jsonl"), ("annotate", "x.jsonl"), ("prefer", "--prompts", "atlas", "--scorer", "atlas")],
    ids=lambda stage: stage[0],
)
def test_what_is_not_installed_is_named_with_the_remedy(
    stage: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(installed.PACKAGES, "train", ("torch", "no_such_package"))
    assert train(*stage, "--model", "base", "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "got no no_such_package. Install them: pip install 'flowdecode[train]'" in told
