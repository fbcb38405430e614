"""The documentation says what is so: its snippets run, its tables are complete."""

from __future__ import annotations

import asyncio
import re
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest

import flowdecode
from flowdecode.backend import ModelProfile
from flowdecode.errors import ConfigurationError
from flowdecode.timeline.phases import PHASES
from flowdecode_backends.simulated import simulate
from flowdecode_graphs.plato.language import PlanParser
from flowdecode_graphs.prompts import Prompts

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROMPTS = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


@pytest.mark.parametrize("snippet", blocks(README, "python"))
def test_the_readme_s_snippets_run(snippet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWDECODE_BACKEND", "simulated:")

    names: dict[str, Any] = {"asyncio": asyncio, "flowdecode": flowdecode}
    exec(f"async def main():\n{textwrap.indent(snippet, '    ')}", names)
    simulate(names["main"]())


@pytest.mark.parametrize(
    ("call", "message"), re.findall(r">>> await (.*)\n\s*ConfigurationError: (.*)", README), ids=str
)
def test_the_readme_s_errors_are_those_that_come(call: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        simulate(eval(call, {"flowdecode": flowdecode}))
    assert str(caught.value) == message


def test_the_page_on_prompts_lists_every_field() -> None:
    assert re.findall(
        r"^\| `(\w+)` \|(?! \w+ \|)", PROMPTS.partition("## The fields")[2], re.MULTILINE
    ) == list(Prompts.__struct_fields__)


def test_the_page_on_prompts_shows_a_valid_pack_and_a_valid_plan() -> None:
    (pack,) = blocks(PROMPTS, "json")
    profile = msgspec.json.decode(pack, type=ModelProfile)
    assert msgspec.convert(profile.prompts, type=Prompts).plan == "\nPlan:"
    plan = next(block for block in blocks(PROMPTS, "") if "<-" in block)
    parser = PlanParser()
    assert len(parser.feed(plan)) == 4
    assert parser.remarks == []


def test_the_architecture_has_a_line_for_every_module() -> None:
    for package in ("flowdecode", "graphs/flowdecode_graphs", "backends/flowdecode_backends"):
        for path in (ROOT / package).glob("*"):
            name = path.stem + ("/" if path.is_dir() else "")
            if name.startswith("_") or path.suffix not in ("", ".py") or name == "__pycache__/":
                continue
            assert f"`{name}`" in ARCHITECTURE, f"{package}/{name} is not in docs/architecture.md"


def test_the_picture_of_the_timeline_is_small() -> None:
    picture = ROOT / "docs" / "timeline.png"
    assert picture.stat().st_size < 200_000
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_page_on_the_timeline_names_every_phase() -> None:
    page = (ROOT / "docs" / "timeline.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| ([^|]+?) \| [`t]", page, re.MULTILINE) == list(PHASES.values())
