"""The page on training says what is so: its commands run as they stand, on a tiny model."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowdecode.cli import main
from flowdecode_backends.scripted import Reply
from flowdecode_graphs.pasta.training.rows import Example, read_examples

pytest.importorskip("peft")
torch: Any = pytest.importorskip("torch")

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


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


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
    commands = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    assert len(commands) >= 7
    for command in commands:
        program, *args = shlex.split(command)
        assert program == "flowdecode"
        assert main(args) == 0, command
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
