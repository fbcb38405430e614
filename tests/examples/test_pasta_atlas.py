"""The proof of PASTA on the Atlas: its split is frozen, and its figures are those of known answers."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from examples.pasta_atlas import recipe
from examples.pasta_atlas.__main__ import app
from examples.pasta_atlas.frontier import LOCAL, QUALITY, SGLANG, answered, fastest, read_rows, written
from examples.pasta_atlas.measure import Answer, answer_all, read_answers, time_each, write_answers
from examples.pasta_atlas.split import COUNTS, proof_questions
from flowdecode_graphs.atlas import heldout_questions, split_of

FROZEN = "75323953860b4d86408e48500a1002f909d8284dea7be3b24674556bfe39657d"


def test_the_split_is_frozen_and_nobody_else_s() -> None:
    asked = proof_questions()
    assert len(asked) == sum(COUNTS.values()) == len({question.prompt for question in asked})
    assert not {question.prompt for question in asked} & {question.prompt for question in heldout_questions()}
    assert {split_of(question.task) for question in asked} == {"heldout"}
    assert hashlib.sha256("\n".join(question.prompt for question in asked).encode()).hexdigest() == FROZEN


def answer(prompt: str, score: float, work: int, span: int, seconds: float, *remarks: str) -> Answer:
    return Answer(prompt=prompt, text="", score=score, work=work, span=span, seconds=seconds, remarks=remarks)


def test_rows_are_against_the_baseline(tmp_path: Path) -> None:
    base = [answer("a", 0.5, 100, 100, 1.0), answer("b", 1.0, 400, 400, 4.0), answer("c", 0.0, 80, 80, 3.0)]
    ours = [answer("a", 1.0, 120, 50, 0.5, "Expected"), answer("b", 0.5, 400, 100, 2.0)]
    ours.append(answer("c", 0.6, 80, 80, 1.5))
    write_answers(tmp_path / QUALITY / "baseline.jsonl", base)
    write_answers(tmp_path / QUALITY / "lambda 4.jsonl", ours)
    write_answers(tmp_path / SGLANG / "lambda 4" / "baseline.jsonl", base)
    write_answers(tmp_path / SGLANG / "lambda 4" / "own.jsonl", ours)
    assert answered(tmp_path) == ["baseline", "lambda 4"]
    first, row = read_rows(tmp_path, ["lambda 4"], baseline="baseline")
    assert (first.name, first.theoretical.value, first.net_win_rate, first.asynchronous) == (
        "baseline",
        1,
        0,
        0,
    )
    assert row.theoretical.value == pytest.approx(8 ** (1 / 3))  # of 2, 4 and 1
    assert row.quality.value == pytest.approx(0.7)
    assert row.net_win_rate == pytest.approx(1 / 3)
    assert row.sglang is not None
    assert row.sglang.value == pytest.approx(2.0)
    assert row.local is None
    assert row.asynchronous == pytest.approx(2 / 3)
    assert row.repaired == pytest.approx(1 / 3)
    table = written([first, row]).splitlines()
    assert table[3].startswith("| lambda 4 | 0.700 (0.500 to 1.000) | +33% | 2.00x (1.00 to 4.00) |")


def test_ablations_are_against_their_own_baseline(tmp_path: Path) -> None:
    base, short, fixed = ([answer("a", 1, work, work, 1)] for work in (100, 80, 40))
    names = (recipe.BASELINE, recipe.ABLATED_BASELINE, "positions fixed")
    for name, answers in zip(names, (base, short, fixed), strict=True):
        write_answers(tmp_path / QUALITY / f"{name}.jsonl", answers)
    rows = read_rows(tmp_path, ["positions fixed"], baseline=recipe.ABLATED_BASELINE)
    assert [(row.name, row.theoretical.value) for row in rows] == [
        (recipe.ABLATED_BASELINE, 1),
        ("positions fixed", 2),
    ]
    with pytest.raises(FileNotFoundError):
        read_rows(tmp_path, [], baseline="stage 1")


def test_other_questions_than_the_baseline_s_are_refused(tmp_path: Path) -> None:
    write_answers(tmp_path / QUALITY / "baseline.jsonl", [answer("a", 1, 1, 1, 1)])
    write_answers(tmp_path / QUALITY / "other.jsonl", [answer("b", 1, 1, 1, 1)])
    with pytest.raises(ValueError, match=r"in other\."):
        read_rows(tmp_path, ["other"], baseline="baseline")


@pytest.mark.anyio
@pytest.mark.timeout(120)
async def test_the_demo_model_s_answers_are_measured(tmp_path: Path) -> None:
    asked = proof_questions()[-2:]
    plain = await answer_all("local:", "sequential", asked)
    assert [each.prompt for each in plain] == [question.prompt for question in asked]
    assert all(each.span == each.work > 0 for each in plain)
    found = await time_each({"plain": ("local:", "sequential"), "plato": ("local:", "plato")}, asked)
    assert [each.text for each in found["plain"]] == [each.text for each in plain]
    assert all(each.seconds > 0 for answers in found.values() for each in answers)
    write_answers(tmp_path / "some.jsonl", plain)
    assert read_answers(tmp_path / "some.jsonl") == plain


def test_the_fastest_model_that_is_hardly_worse_is_shipped(tmp_path: Path) -> None:
    for name, quality, seconds in (
        ("baseline", 0.9, 8),
        ("stage 1", 0.95, 6),
        ("lambda 4", 0.885, 4),
        ("lambda 1", 0.87, 2),
    ):
        answers = [answer(prompt, quality, 100, 50, seconds) for prompt in "abcd"]
        write_answers(tmp_path / QUALITY / f"{name}.jsonl", answers)
        write_answers(tmp_path / LOCAL / name / "own.jsonl", answers)
        slow = [answer(prompt, 0.9, 100, 100, 8) for prompt in "abcd"]
        write_answers(tmp_path / LOCAL / name / "baseline.jsonl", slow)
    write_answers(tmp_path / QUALITY / "untimed.jsonl", [answer(prompt, 1, 1, 1, 1) for prompt in "abcd"])

    def chosen(*names: str) -> str | None:
        return fastest(read_rows(tmp_path, names, baseline="baseline"))

    assert chosen("untimed") is None
    assert chosen("stage 1", "lambda 4", "lambda 1", "untimed") == "lambda 4"
    assert chosen("stage 1") == "stage 1"
    assert chosen("lambda 1") is None


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What `flowdecode train` is asked for."""
    asked: list[tuple[str, ...]] = []

    def run(*arguments: str) -> None:
        asked.append(arguments)

    monkeypatch.setattr(recipe, "_run", run)
    return asked


def test_every_lambda_is_trained_in_both_forms(tmp_path: Path, commands: list[tuple[str, ...]]) -> None:
    assert CliRunner().invoke(app, ["prefer", str(tmp_path)]).exit_code == 0
    assert [command[command.index("--model") + 1] for command in commands] == [
        str(tmp_path / "stage 1"),
        str(tmp_path / "stage 1, causal"),
    ]
    assert {command[command.index("--lambda") + 1] for command in commands} == {"1,2,4,8,inf"}


def test_baseline_and_ablations_see_the_same_examples(
    tmp_path: Path, commands: list[tuple[str, ...]]
) -> None:
    asked = ["supervise", str(tmp_path), "--name", "positions exact", "--name", recipe.ABLATED_BASELINE]
    assert CliRunner().invoke(app, asked).exit_code == 0
    exact, exactly, plain, plainly = commands
    assert [command[0] for command in commands] == ["annotate", "sft"] * 2
    assert exact[1:5] == plain[1:5] == ("--atlas", "9600", "--seed", "1")
    assert exact[5:7] == ("--lengths", "exact")
    assert exactly[-1] == "--exact"
    assert plainly[-1] == "--plain"


@pytest.mark.parametrize("asked", [("supervise", "--name"), ("prefer", "--name"), ("prefer", "--lambda")])
def test_unknown_names_are_refused(
    tmp_path: Path, asked: tuple[str, str], commands: list[tuple[str, ...]]
) -> None:
    command, option = asked
    result = CliRunner().invoke(app, [command, str(tmp_path), option, "3"])
    assert result.exit_code == 2
    assert "Expected some of" in result.output
    assert not commands


def test_the_report_has_a_table_of_stages_one_of_first_rounds_and_one_of_ablations(tmp_path: Path) -> None:
    names = ("lambda 4, round 1", "lambda 4, round 2", *recipe.STAGES, *recipe.ABLATIONS)
    for name in names:
        write_answers(tmp_path / QUALITY / f"{name}.jsonl", [answer(prompt, 1, 80, 80, 1) for prompt in "ab"])
    picture = tmp_path / "frontier.png"
    result = CliRunner().invoke(app, ["report", str(tmp_path), "--picture", str(picture)])
    tables = result.output.split("| | quality")[1:]
    rows = [re.findall(r"^\| ([a-z][^|]+) \|", table, re.MULTILINE) for table in tables]
    assert rows == [
        ["baseline", "lambda 4, round 2", "stage 1", "stage 1, causal"],
        ["baseline", "lambda 4, round 1"],
        list(recipe.ABLATIONS),
    ]
    assert picture.exists()


def test_models_are_called_as_the_page_calls_them(tmp_path: Path) -> None:
    for path in [*recipe.STAGES, *recipe.ABLATIONS]:
        (tmp_path / path).mkdir()
        (tmp_path / path / "config.json").touch()
    for out in recipe.STAGE_2.values():
        for weight in recipe.LAMBDAS:
            for number in (1, 2):
                model = tmp_path / out / f"lambda-{weight}" / f"round-{number}" / "model"
                model.mkdir(parents=True)
                (model / "config.json").touch()
    known = recipe.models(tmp_path)
    assert len(known) == 3 + 6 + 2 * 5 * 2
    page = (Path(__file__).parents[2] / "docs" / "pasta.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    python -m examples\.pasta_atlas pace (.+)$", page, re.MULTILINE)
    named = {name for command in commands for name in re.findall(r'"([^"]+)"', command)}
    assert named
    assert named <= known.keys()
