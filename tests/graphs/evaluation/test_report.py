from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from flowdecode_backends.simulated import simulate
from flowdecode_graphs.evaluation.answers import Folder, Judgement
from flowdecode_graphs.evaluation.charts import Scale
from flowdecode_graphs.evaluation.estimates import Estimate
from flowdecode_graphs.evaluation.figures import tables, written
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.evaluation.judge import ORDERS
from flowdecode_graphs.evaluation.markdown import to_markdown
from flowdecode_graphs.evaluation.report import write_report
from flowdecode_graphs.evaluation.runner import Runner
from flowdecode_graphs.evaluation.summary import Summary, summarize
from flowdecode_graphs.evaluation.variants import open_variants
from tests.graphs.evaluation.engines import Engine, begin, items_of

VARIANTS = open_variants(["plato", "auto", "skeleton", "pipelining", "width"])


class Page(HTMLParser):
    """What a page is made of; raises where an element is not closed, or an id comes twice."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name in ("href", "src") and value]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Six questions of the Atlas, and judgements of a judge who likes plato."""
    folder, manifest = begin(
        tmp_path_factory.mktemp("bench"),
        items_of("guide", "comparison", "choice", "chain", "short", "outside"),
        VARIANTS,
    )
    simulate(Runner(folder, manifest, VARIANTS, connect=Engine()).run())
    for item in manifest.items[:2]:
        for order in ORDERS:
            folder.add_judgement(
                Judgement(
                    item=item.id,
                    variant="plato",
                    repeat=1,
                    order=order,
                    choice="first" if order == "shown-first" else "second",
                    text="Verdict.",
                    model="<judge>",
                )
            )
    return folder


def test_the_numbers_say_what_the_engine_does(folder: Folder) -> None:
    summary = summarize(folder)
    plain, plato = summary.row("sequential"), summary.row("plato")
    assert plain is not None
    assert plato is not None
    assert plain.measures["actual_speedup"] == Estimate(1.0, 1.0, 1.0, 6)
    assert plato.measures["actual_speedup"].value > 1.2
    assert plato.measures["score"].value == 1.0
    assert summary.categories == ["guide", "comparison", "choice", "chain", "short", "outside"]
    narrow = next(each for each in summary.ablations if each.variant == "plato-width-1")
    assert narrow.speedup is not None
    assert narrow.speedup.low > 1
    assert summary.best[0].speedup >= summary.best[-1].speedup > summary.worst[0].speedup
    assert len({extreme.item for extreme in summary.best}) == 3
    sources = {each.source: each for each in summary.qualities if each.variant == "plato"}
    # Two wins, and two answers that are the sequential one to the byte.
    assert (sources["<judge>"].wins, sources["<judge>"].losses) == (2, 0)
    assert sources["exact score"].ties == 6


def test_all_forms_hold_the_same_numbers(folder: Folder) -> None:
    summary = summarize(folder)
    path = write_report(folder, summary)
    html = path.read_text(encoding="utf-8")
    markdown = path.with_name("report.md").read_text(encoding="utf-8")
    stored = msgspec.json.decode(path.with_name("report.json").read_bytes(), type=Summary)
    assert stored == summary
    assert to_markdown(stored) == markdown
    names = [table.title for table in tables(summary)]
    assert {"Speed", "Cost", "Answers", "Quality", "Ablations", "Router"} <= set(names)
    for table in tables(summary):
        for row in table.rows:
            for cell in row:
                assert cell.interval in html
                assert f"{cell.value} ({cell.interval})" in markdown or not cell.interval


def test_the_page_is_whole_and_loads_nothing(folder: Folder) -> None:
    html = write_report(folder, summarize(folder)).read_text(encoding="utf-8")
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert not page.tags & {"script", "img", "link", "iframe"}
    assert "url(" not in html
    assert "&lt;judge&gt;" in html
    assert "<judge>" not in html
    assert html.count('class="chart"') == 2 * 6, "three best and three worst prompts, two runs of each"


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    folder, _ = begin(tmp_path, (Item(prompt="Tea?"),), open_variants(["plato"]))
    path = write_report(folder, summarize(folder))
    Page(html := path.read_text(encoding="utf-8"))
    assert "Nothing to compare yet" in html


def test_one_answer_is_enough_for_a_page(tmp_path: Path) -> None:
    variants = open_variants(["plato"])
    folder, manifest = begin(tmp_path, items_of("guide"), variants)
    simulate(Runner(folder, manifest, variants, connect=Engine()).run())
    Page(write_report(folder, summarize(folder)).read_text(encoding="utf-8"))


def test_figures_are_written_with_their_intervals() -> None:
    assert str(written(Estimate(1.234, 1.1, 1.4, 9), "x")) == "1.23x (1.10 to 1.40)"
    assert str(written(Estimate(0.5, 0.25, 0.75, 9), "%")) == "50 % (25 to 75)"
    assert str(written(Estimate(1234.5, 1000, 2000, 9), "", 0)) == "1,234 (1,000 to 2,000)"
    assert str(written(Estimate(0.5, 0.5, 0.5, 1))) == "0.50", "one prompt says nothing of others"
    assert str(written(None)) == "-"


def test_on_a_scale_of_ratios_half_is_as_far_from_one_as_double() -> None:
    scale = Scale.ratios([0.5, 2.0])
    assert scale.place(1) - scale.place(0.5) == pytest.approx(scale.place(2) - scale.place(1))
    assert scale.place(0.01) == 0
    assert scale.place(100) == 1


def test_an_axis_has_round_ticks_within_it() -> None:
    scale = Scale.around([0.913, 0.994])
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
    assert 3 <= len(scale.ticks) <= 8
    assert all(re.fullmatch(r"0\.\d{1,3}|1", f"{tick:.4g}") for tick in scale.ticks)
    assert Scale.around([1.0]).place(1.0) == pytest.approx(0.5)
