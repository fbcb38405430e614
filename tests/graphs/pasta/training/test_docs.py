"""The page on training says what is so: its commands run as they stand, on a tiny model."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowdecode.cli import main
from flowdecode_backends.scripted import Reply
from flowdecode_graphs.pasta.training.rows import Example, read_examples

pytest.importorskip("peft")
torch: Any = pytest.importorskip("torch")

from tests.graphs.pasta.training.models import PROMPTS, save_taught  # noqa: E402
from tests.graphs.pasta.training.test_sft import new_model  # noqa: E402

PAGE = (Path(__file__).parents[4] / "docs" / "pasta.md").read_text(encoding="utf-8")
TEA, COFFEE = (
    f'<promise topic="{topic}" tokens="10"/><async>{text}</async>'
    for topic, text in (
        ("tea", "Tea is an infusion of leaves."),
        ("coffee", "Coffee is brewed from roasted beans."),
    )
)
REPLIES = [
    Reply(f"{TEA}\n\n{COFFEE}\n\n<sync/>Both are warm.", match="Question:\nWhat is tea, and"),
    Reply("Water is water.", match="Question:\nWhat is water?"),
]


STAGES = PAGE.partition("\n## Stage 2\n")
"""Up to stage 2, and from there on: its model has learnt something already."""


def blocks(language: str, page: str = STAGES[0]) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    lines = [line for block in blocks("sh", page) for line in block.replace("\\\n", " ").splitlines()]
    split = [shlex.split(line) for line in lines]
    assert all(program == "flowdecode" for program, *_ in split)
    return [args for _, *args in split]


@pytest.mark.timeout(120)
def test_its_commands_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    new_model(tmp_path / "base")
    (answers,) = blocks("json")
    (tmp_path / "answers.jsonl").write_text(answers, encoding="utf-8")
    (tmp_path / "replies.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, REPLIES)))
    monkeypatch.setenv("FLOWDECODE_BACKEND", "scripted:replies.jsonl")
    told = commands(STAGES[0])
    assert len(told) >= 7
    for args in told:
        assert main(args) == 0, args
    annotated = read_examples(tmp_path / "annotated.jsonl")
    assert [example.prompt for example in annotated] == [
        "What is tea, and what is coffee?",
        "What is water?",
    ]
    assert "<sync/>" in annotated[0].answer
    assert annotated[1] == Example("What is water?", "Water is water.")
    assert len(read_examples(tmp_path / "atlas.jsonl")) == 100
    for folder in ("stage1", "baseline", "adapted"):
        assert (tmp_path / folder / "model.safetensors").exists()


@pytest.mark.timeout(240)
def test_the_commands_of_stage_2_and_serving_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for the judge's address: it is scripted."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    (answers,) = blocks("json")
    (tmp_path / "answers.jsonl").write_text(answers, encoding="utf-8")
    judge = Reply("Both will do.\nVerdict: tie", match="Two assistants")
    (tmp_path / "judge.jsonl").write_bytes(msgspec.json.encode(judge))
    prompts = [example.prompt for example in read_examples(tmp_path / "answers.jsonl")]
    save_taught(tmp_path / "stage1", prompts=[*prompts, *PROMPTS])
    shutil.copytree(tmp_path / "stage1", tmp_path / "baseline")
    told = commands(STAGES[2])
    assert [args[:2] for args in told[:2]] == [["train", "prefer"]] * 2
    assert "local:" in told[-1][told[-1].index("--backend") + 1]
    for args in told:
        given = ["scripted:judge.jsonl" if "model=judge" in argument else argument for argument in args]
        assert main(given) == 0, args
    assert (tmp_path / "preferred/lambda-inf/round-2/round.json").exists()
    assert capsys.readouterr().out.strip(), "the last command's answer"
