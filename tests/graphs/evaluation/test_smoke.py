"""`flowdecode bench` as a user runs it: five questions on a simulated engine, and on the bundled model."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from flowdecode.cli import main
from flowdecode_graphs.evaluation.summary import Summary

SMALL = ("--limit", "5", "--concurrency", "5", "--max-tokens", "48", "--json")

pytestmark = [
    pytest.mark.timeout(240),  # in real time, on a machine that may have other work
    pytest.mark.parametrize("backend", ["simulated:", "local:"]),
]


def bench(capsys: pytest.CaptureFixture[str], *args: str | Path) -> Summary:
    assert main(["bench", *map(str, args)]) == 0
    return msgspec.json.decode(capsys.readouterr().out, type=Summary)


def test_run_and_report(backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = bench(
        capsys, "run", "--backend", backend, "--prompts", "atlas", "--out", tmp_path / "out", *SMALL
    )
    assert (summary.answers, summary.failed) == (20, {})
    assert summary.variants == ["sequential", "plato", "auto", "skeleton"]
    assert all(row.measures["actual_speedup"].value > 0 for row in summary.rows)
    assert {quality.variant for quality in summary.qualities} == {"plato", "auto", "skeleton"}
    page = tmp_path / "out" / "report.html"
    before = page.read_text(encoding="utf-8")
    page.unlink()
    assert bench(capsys, "report", tmp_path / "out", "--json") == summary
    assert page.read_text(encoding="utf-8") == before


def test_router(backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = bench(
        capsys, "router", "--backend", backend, "--labels", "atlas", "--out", tmp_path / "out", *SMALL
    )
    assert summary.failed == {}
    assert [
        each.right_parallel + each.right_sequential + each.wrong_parallel + each.wrong_sequential
        for each in summary.routings
    ] == [5, 5]
