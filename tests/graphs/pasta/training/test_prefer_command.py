"""`flowdecode train prefer`, from the command line: what it refuses, and what it tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowdecode.cli import main
from flowdecode_backends.scripted import Reply
from flowdecode_graphs.pasta.training import rounds
from tests.graphs.pasta.training.models import PROMPTS, save_taught

pytest.importorskip("accelerate")
torch: Any = pytest.importorskip("torch")

pytestmark = pytest.mark.timeout(120)  # seconds of work, on a machine that may be busy


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_taught(tmp_path_factory.mktemp("taught"))


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    return path


def prefer(*args: str | Path) -> int:
    return main(["train", "prefer", *map(str, args)])


def test_it_judges_in_both_orders_and_tells_each_round(
    taught: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = tmp_path / "judge.jsonl"
    judge.write_bytes(msgspec.json.encode(Reply("Verdict: tie", match="Two assistants")))
    args = (
        "--model", taught, "--prompts", prompts, "--judge", f"scripted:{judge}", "--baseline", taught,
        "--lambda", "0.5", "--samples", "6", "--max-tokens", "100", "--out", tmp_path / "out",
    )  # fmt: skip
    assert prefer(*args, "--rounds", "1") == 0
    (line,) = capsys.readouterr().out.splitlines()
    model = tmp_path / "out/lambda-0.5/round-1/model"
    assert line.startswith("lambda 0.5, round 1: of 12 samples 100% well-formed, speedup ")
    assert line.endswith(f"quality 0.500; 2 pairs of 2 prompts; {model}")
    assert prefer(*args, "--rounds", "2", "--json") == 0
    told = msgspec.json.decode(capsys.readouterr().out, type=list[rounds.Round])
    assert [(each.weight, each.number, each.quality) for each in told] == [("0.5", 1, 0.5), ("0.5", 2, 0.5)]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "Expected one that tells quality"),
        (("--scorer", "atlas", "--judge", "simulated:"), "Expected one that tells quality"),
        (("--scorer", "bleu"), "Expected atlas, got 'bleu' - at --scorer"),
        (("--judge", "simulated:"), "Expected --baseline DIR_OR_URL beside --judge"),
        (("--scorer", "atlas", "--lambda", "1,much"), "numbers from 0 on, or inf, got 'much' - at --lambda"),
        (("--scorer", "atlas"), "Expected questions of the Atlas"),
    ],
)
def test_what_can_t_be_is_refused_at_once(
    taught: Path,
    prompts: Path,
    tmp_path: Path,
    args: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert prefer("--model", taught, "--prompts", prompts, "--out", out, *args) == 2
    assert message in capsys.readouterr().err
    assert not (out / "samples").exists()


def test_a_file_without_prompts_is_refused(
    taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert prefer("--model", taught, "--prompts", empty, "--scorer", "atlas", "--out", tmp_path / "out") == 2
    assert "at least one prompt, got none" in capsys.readouterr().err


def test_a_folder_that_is_no_model_is_refused(
    prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--model", tmp_path, "--prompts", "atlas", "--scorer", "atlas", "--out", tmp_path / "out")
    assert prefer(*args) == 2
    assert "Expected" in capsys.readouterr().err
