"""`flowdecode bench`, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from flowdecode.cli import installed, main
from flowdecode_backends.scripted import Reply
from flowdecode_graphs.evaluation.summary import Summary
from tests.graphs.scripts import script

ROUTES = [Reply("A", match="Say only A, B or C"), Reply("1. Tea\n2. Milk", match="Give only the skeleton")]


@pytest.fixture
def engine(tmp_path: Path) -> str:
    """An engine that plans, routes, and answers at once."""
    path = tmp_path / "replies.jsonl"
    replies = [*ROUTES, Reply("Verdict: tie", match="Two assistants"), *script()]
    path.write_bytes(b"\n".join(map(msgspec.json.encode, replies)))
    return f"scripted:{path}"


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    path = tmp_path / "prompts.csv"
    path.write_text("label;request\n1;Tea or coffee?\n0;Milk or water?\n", encoding="utf-8")
    return str(path)


def bench(*args: str | Path) -> int:
    return main(["bench", *map(str, args)])


def read(capsys: pytest.CaptureFixture[str]) -> Summary:
    return msgspec.json.decode(capsys.readouterr().out, type=Summary)


def test_run_answers_judges_and_reports(
    tmp_path: Path, engine: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args: Sequence[str | Path] = (
        "run", "--backend", engine, "--prompts", prompts, "--strategies", "plato,pipelining",
        "--judge", engine, "--out", tmp_path / "out",
    )  # fmt: skip
    assert bench(*args, "--json") == 0
    summary = read(capsys)
    assert summary.answers == 6
    assert {each.variant: each.ties for each in summary.qualities} == {"plato": 2, "plato-no-pipelining": 2}
    assert {path.name for path in (tmp_path / "out").glob("report.*")} == {
        "report.html", "report.json", "report.md",
    }  # fmt: skip
    assert bench(*args, "--repeat", "2", "--json") == 0
    assert read(capsys).answers == 12


def test_run_prints_tables(
    tmp_path: Path, engine: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert bench("run", "--backend", engine, "--prompts", prompts, "--strategies", "plato", "--out", out) == 0
    captured = capsys.readouterr()
    assert "Actual speedup" in captured.out
    assert [line.split()[0] for line in captured.out.splitlines()[1:3]] == ["sequential", "plato"]
    assert f"The report: {out / 'report.html'}" in captured.err


def test_router_compares_with_labels(
    tmp_path: Path, engine: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert bench("router", "--backend", engine, "--labels", prompts, "--out", out, "--json") == 0
    auto, route = read(capsys).routings
    assert auto.router == "auto"
    assert auto.agreement is not None
    assert (auto.agreement.value, auto.agreement.count) == (0.5, 2), "both prompts are answered in one way"
    assert (route.router, route.right_parallel, route.wrong_parallel) == ("route", 1, 1)


def test_router_wants_labels(tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bare.csv"
    path.write_text("prompt\nTea?\n", encoding="utf-8")
    assert bench("router", "--backend", engine, "--labels", path, "--out", tmp_path / "out") == 2
    assert "Expected a field `label` of 0 or 1, got none" in capsys.readouterr().err


def test_report_is_written_again(
    tmp_path: Path, engine: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert bench("run", "--backend", engine, "--prompts", prompts, "--strategies", "plato", "--out", out) == 0
    before = (out / "report.html").read_text(encoding="utf-8")
    (out / "report.html").unlink()
    assert bench("report", out) == 0
    assert (out / "report.html").read_text(encoding="utf-8") == before
    assert bench("report", tmp_path / "none") == 2
    assert "Expected what `flowdecode bench` wrote" in capsys.readouterr().err


def test_without_its_packages_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(installed.PACKAGES, "bench", ("numpy", "nowhere"))
    assert bench("report", tmp_path) == 2
    assert "got no nowhere. Install them: pip install 'flowdecode[bench]'." in capsys.readouterr().err


def test_an_unknown_strategy_is_one_line(
    tmp_path: Path, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("run", "--prompts", prompts, "--strategies", "fast", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
