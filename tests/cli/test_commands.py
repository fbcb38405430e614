"""The commands as such: found by entry point, imported late."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flowdecode.cli import main

LATE = '''
def late(name: str, *, loud: bool = False) -> None:
    """Come late.

    And say so.
    """
    print(name.upper() if loud else name)
'''

APP = '''
"""Several commands under one name."""

import typer

several = typer.Typer()

@several.command()
def first(word: str) -> None:
    print(word)

@several.command()
def second() -> None:
    """The other one."""
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with the commands `late`, `several`, `lost` (no such module) and `torn` (no Python)."""
    info = tmp_path / "late-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text(
        "[flowdecode.commands]\nlate = late_plugin.command:late\n"
        "several = late_plugin.several:several\n"
        "lost = late_plugin.lost:lost\ntorn = late_plugin.torn:torn\n"
    )
    package = tmp_path / "late_plugin"
    package.mkdir()
    package.joinpath("__init__.py").touch()
    package.joinpath("command.py").write_text(LATE)
    package.joinpath("several.py").write_text(APP)
    package.joinpath("torn.py").write_text("def torn(")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in ("late_plugin", "late_plugin.command", "late_plugin.several"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("args", [[], ["--help"]])
def test_help_lists_all_commands(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 0
    help_text = capsys.readouterr().out
    assert "Decode an answer, its independent parts side by side." in help_text
    assert [word for word in help_text.split() if word in ("explain", "plugins", "run")] == [
        "explain",
        "plugins",
        "run",
    ]


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from flowdecode.cli import main; main(['--help']);"
        "print(*(name for name in sys.modules if name.startswith('flowdecode.cli.')), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stderr.split() == ["flowdecode.cli.commands", "flowdecode.cli.output"]


@pytest.mark.usefixtures("plugin")
def test_plugin_is_listed_with_its_summary_and_not_imported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    help_text = capsys.readouterr().out
    assert "Come late." in help_text
    assert {"lost", "torn"} <= set(help_text.split())
    assert "late_plugin" not in sys.modules


@pytest.mark.usefixtures("plugin")
def test_plugin_is_imported_when_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["late", "tea", "--loud"]) == 0
    assert capsys.readouterr().out == "TEA\n"


@pytest.mark.usefixtures("plugin")
def test_help_of_a_plugin_shows_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["late", "--help"]) == 0
    help_text = capsys.readouterr().out
    assert "flowdecode late" in help_text
    assert "And say so." in help_text
    assert "--loud" in help_text


@pytest.mark.usefixtures("plugin")
def test_a_plugin_may_have_commands_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "Several commands under one name." in capsys.readouterr().out
    assert main(["several", "first", "tea"]) == 0
    assert capsys.readouterr().out == "tea\n"
    assert main(["several", "--help"]) == 0
    help_text = capsys.readouterr().out
    assert "flowdecode several" in help_text
    assert "The other one." in help_text
    assert main(["several", "third"]) == 2
    assert "No such command 'third'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["explian"], "No such command 'explian'. Did you mean 'explain'?"),
        (["--nothing"], "No such option: --nothing"),
        (["run"], "Missing argument 'PROMPT'."),
        (["run", "Tea?", "--widht", "2"], "No such option: --widht"),
        (["run", "Tea?", "--width", "two"], "Invalid value for '--width'"),
        (["run", "Tea?", "--on-error", "weep"], "'weep' is not one of 'fallback', 'partial', 'raise'"),
        (["run", "Tea?", "Coffee?"], "Got unexpected extra argument"),
    ],
)
def test_usage_error_is_one_line(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
