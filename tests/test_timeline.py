"""The page of a run: what it says, that anyone can read it, and that no text of a model breaks it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowdecode
from flowdecode.backend import Request
from flowdecode.result import NodeRecord, Result
from flowdecode.timeline import to_html
from flowdecode.timeline.layers import Edge, layers_of
from flowdecode.timeline.markup import element
from flowdecode.timeline.phases import critical_path, phases_of
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_backends.simulated import simulate
from tests.examples.engine import DEMO
from tests.parts import Part, Parts

STYLE = files("flowdecode.timeline").joinpath("page.css").read_text(encoding="utf-8")
VOID = {"meta"}
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "nav"),
    *("h1", "h2", "p", "dl", "dt", "dd", "ol", "ul", "li", "div", "span", "b", "bdi", "a", "strong"),
    *("details", "summary", "svg", "path", "table", "caption", "thead", "tbody", "tr", "th", "td"),
}
HOSTILE = [
    "<script>alert(1)</script>",
    "</style></title><img src=x onerror=alert(1)>",
    "\" autofocus onfocus='alert(1)",
    "<!-- ]]> &lt; &#60; &",
    "مرحبا بالعالم \u202e\u2066",
    "👩‍👩‍👧‍👦🍵",
    "\x00\x1b[31m\x7f\ud800\uffff",
    "title " * 200,
    "## heading\r\n#no heading\u2028",
    "javascript:alert(1) https://example.org/",
    "",
]
texts = st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=40)
times = st.none() | st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1e9)
nodes = st.builds(
    NodeRecord,
    id=texts,
    kind=st.sampled_from(["decode", "call", "plan"]),
    title=texts,
    parents=st.lists(texts, max_size=3).map(tuple),
    text=texts,
    status=st.sampled_from(
        ["waiting", "ready", "running", "done", "truncated", "failed", "skipped", "cancelled"]
    ),
    error=st.none() | texts,
    shown=st.booleans(),
    expected_tokens=st.none() | st.integers(0, 10_000),
    offset=st.integers(0, 100),
    planned_at=st.floats(0, 1e9),
    ready_at=times,
    sent_at=times,
    first_token_at=times,
    finished_at=times,
    attempts=st.integers(0, 3),
)
results = st.builds(
    Result,
    id=texts,
    text=texts,
    model=texts,
    strategy=st.none() | texts,
    status=st.sampled_from(["done", "truncated", "partial", "failed", "cancelled", "timeout"]),
    fallback_reason=st.none() | texts,
    nodes=st.lists(nodes, max_size=5).map(tuple),
    duration=st.floats(0, 1e9),
)


class Element:
    """An element of a parsed page."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Element | str] = []

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def find(self, name: str, **attributes: str) -> list[Element]:
        """Elements by name and attributes; of a class, one word is enough."""
        return [
            found
            for found in self.walk()
            if found.name == name
            and all(
                value in (words := found.attributes.get(key.rstrip("_"), ""), *words.split())
                for key, value in attributes.items()
            )
        ]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Parser(HTMLParser):
    """Builds the tree, and fails where a tag is not closed or an attribute comes twice."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(page)
        self.close()
        assert self.open == [self.root], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        found = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(found)
        if tag not in VOID:
            self.open.append(found)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def parse(result: Result) -> Element:
    return Parser(to_html(result)).root


def record(node_id: str, **fields: object) -> NodeRecord:
    required = {
        "id": node_id,
        "kind": "decode",
        "title": f"Part {node_id}",
        "status": "done",
        "planned_at": 0.0,
    }
    return msgspec.convert({**required, **fields}, NodeRecord)


def result(*nodes: NodeRecord, **fields: object) -> Result:
    required = {"id": "r", "text": "", "model": "m", "strategy": "plato", "status": "done", "duration": 4.0}
    return msgspec.structs.replace(msgspec.convert({**required, **fields}, Result), nodes=nodes)


@pytest.fixture(scope="module")
def demo() -> Result:
    """The demo's run, in virtual time."""
    prompt = "Compare tea and coffee: origin, caffeine, taste, and which to drink in the evening."
    return simulate(flowdecode.run(prompt, backend=Scripted(DEMO)))


LIVED = {"ready_at": 1.5, "sent_at": 2.0, "first_token_at": 2.25, "finished_at": 4.0}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (
            record("1", planned_at=0.5, **LIVED),
            [
                ("plan", 0.0, 0.5),
                ("parents", 0.5, 1.5),
                ("width", 1.5, 2.0),
                ("engine", 2.0, 2.25),
                ("decode", 2.25, 4.0),
            ],
        ),
        (record("1", kind="call", sent_at=0.0, ready_at=0.0, finished_at=3.0), [("call", 0.0, 3.0)]),
        (
            record("1", planned_at=1.0, status="cancelled", finished_at=2.0),
            [("plan", 0.0, 1.0), ("parents", 1.0, 2.0)],
        ),
        (
            record("1", ready_at=1.0, status="cancelled", finished_at=2.0),
            [("parents", 0.0, 1.0), ("width", 1.0, 2.0)],
        ),
        (
            record("1", ready_at=0.0, sent_at=1.0, finished_at=2.0),
            [("width", 0.0, 1.0), ("engine", 1.0, 2.0)],
        ),
        (
            record("1", status="running", ready_at=0.0, sent_at=0.0, first_token_at=3.0),
            [("engine", 0.0, 3.0), ("decode", 3.0, 4.0)],
        ),
        (
            record("1", planned_at=1.0, sent_at=2.0, first_token_at=3.0, finished_at=4.0),
            [("plan", 0.0, 1.0), ("width", 1.0, 2.0), ("engine", 2.0, 3.0), ("decode", 3.0, 4.0)],
        ),
        (record("1", ready_at=0.0, sent_at=0.0, first_token_at=0.0, finished_at=0.0), []),
        (
            record("1", planned_at=3.0, ready_at=1.0, sent_at=2.0, first_token_at=2.0, finished_at=4.0),
            [("plan", 0.0, 3.0), ("decode", 3.0, 4.0)],
        ),
    ],
    ids=[
        "whole",
        "call",
        "cancelled early",
        "never sent",
        "no token",
        "cut off",
        "a gap",
        "no time",
        "disorder",
    ],
)
def test_phases_are_what_the_times_say(node: NodeRecord, expected: list[tuple[str, float, float]]) -> None:
    assert list(phases_of(node, 4.0)) == expected


@given(nodes, st.floats(0, 1e9))
def test_phases_follow_each_other_without_a_gap(node: NodeRecord, duration: float) -> None:
    end = 0.0
    for phase in phases_of(node, duration):
        assert phase.start == end
        assert phase.seconds > 0
        end = phase.end


def test_the_critical_path_goes_back_over_the_parents_that_came_last() -> None:
    plan = record("plan", kind="plan", finished_at=1.0)
    early, late = record("1", offset=5, finished_at=2.0), record("2", offset=9, finished_at=2.5)
    last = record("3", offset=14, parents=("1", "2"), finished_at=4.0)
    dropped = record("answer", status="cancelled", finished_at=5.0)
    assert critical_path([dropped, plan, early, late, last]) == ("plan", "2", "3")
    assert critical_path([dropped]) == ()


def test_only_the_edges_of_the_critical_path_are_heavy() -> None:
    first, second = record("1", finished_at=1.0), record("2", parents=("1",), finished_at=2.0)
    third = record("3", parents=("1", "2"), finished_at=3.0)
    paths = parse(result(first, second, third)).find("path")
    assert [path.attributes.get("class") for path in paths] == ["pace", None, "pace"]


def test_layers_put_parents_to_the_left_and_parts_behind_their_plan() -> None:
    drawn = [
        record("answer", status="cancelled"),
        record("plan", kind="plan"),
        record("1", offset=5),
        record("2", offset=9, parents=("1", "nobody")),
    ]
    assert layers_of(drawn) == ([[0, 1], [2], [3]], [Edge(1, 2, planned=True), Edge(2, 3)])


def test_an_element_escapes_what_is_no_markup() -> None:
    inner = element("b", "<&\"'", class_="a", hidden=True, title=None)
    assert inner == '<b class="a" hidden>&lt;&amp;&quot;&#x27;</b>'
    assert element("p", inner, "\x1b", aria_label='"') == f'<p aria-label="&quot;">{inner}\u241b</p>'


def test_the_page_shows_answer_figures_and_a_bar_for_every_node(demo: Result) -> None:
    page = parse(demo)
    (answer,) = page.find("div", class_="answer")
    assert answer.text == demo.text
    assert answer.find("strong")[0].text == "## Origin"
    (title,) = page.find("h1")
    assert title.text == f"7 nodes in {demo.duration:.2f} s"
    bars = page.find("details")
    assert len(bars) == len(demo.nodes)
    last = bars[-1].find("span", class_="track")[0].attributes["aria-label"]
    assert re.fullmatch(
        r"waits for the plan 0\.\d\d s, waits for parents 1\.\d\d s, "
        r"engine: queue and prefill \d\d ms, decodes 1\.\d\d s; done",
        last,
    )
    assert "Which to drink in the evening" in bars[-1].find("summary")[0].text
    assert demo.nodes[-1].text in bars[-1].text
    graph = page.find("section", id="graph")[0]
    assert [box.text for box in graph.find("span", class_="aside")][-1] == "needs 1, 3, 4"
    assert len(graph.find("path")) == 4 + 3


def test_the_table_says_all_that_the_bars_say(demo: Result) -> None:
    (table,) = parse(demo).find("table")
    assert table.find("caption")
    head, *rows = table.find("tr")
    columns = [cell.text for cell in head.find("th", scope="col")]
    assert len(rows) == len(demo.nodes)
    for row, node in zip(rows, demo.nodes, strict=True):
        cells = dict(zip(columns, [cell.text for cell in row.find("th") + row.find("td")], strict=True))
        assert row.find("th", scope="row")
        phases = {phase.name: phase for phase in phases_of(node, demo.duration)}
        assert cells["Decodes"] == f"{phases['decode'].seconds:.3f}"
        assert cells["End"] == f"{node.finished_at:.3f}"
        assert cells["Status"] == node.status
        assert cells["Parents"] == (", ".join(node.parents) or "-")


def test_a_saved_result_makes_the_same_page(demo: Result) -> None:
    assert to_html(Result.from_json(demo.to_json())) == to_html(demo)


def test_a_run_that_failed_says_what_failed() -> None:
    replies = [Reply("Leaves.", match="one", pace=0.1), Reply("", match="two", fault=Fault(error="rejected"))]
    strategy = Parts(parts=("one", "two", Part("three", parents=(1,))))
    done = simulate(flowdecode.run("Tea?", backend=Scripted(replies), strategy=strategy, on_error="partial"))
    page = parse(done)
    assert [row.find("span", class_="status")[0].text for row in page.find("summary")] == [
        "done",
        "failed",
        "skipped",
    ]
    assert [len(row.find("span", class_="end")) for row in page.find("summary")] == [0, 1, 1]
    assert "The request was refused" in page.find("table")[0].text
    assert page.find("p", class_="note")[0].text == "Status: partial"


def test_a_fallback_says_why() -> None:
    page = parse(result(fallback_reason="the plan <gains> nothing"))
    assert page.find("p", class_="note")[0].text == "Fell back: the plan <gains> nothing"


def test_one_node_and_none_at_all() -> None:
    def leaves(request: Request) -> Reply:
        return Reply("Leaves.")

    one = simulate(flowdecode.run("Tea?", backend=Scripted(leaves), strategy="sequential"))
    assert len(parse(one).find("details")) == 1
    none = parse(result(status="failed", duration=0.0))
    assert not none.find("details")
    assert none.find("section", id="answer")[0].find("p")[0].text == "Nothing came of this run."


def test_hundreds_of_nodes_stay_a_page() -> None:
    many = [
        record(str(n), parents=(str(n - 1),) * (n % 7 > 0), planned_at=n / 100, finished_at=4.0)
        for n in range(500)
    ]
    page = to_html(result(*many))
    assert len(page.encode()) < 2_000_000
    assert len(Parser(page).root.find("tr")) == 501


def test_a_node_that_took_no_time_is_there() -> None:
    instant = record("1", ready_at=0.0, sent_at=0.0, first_token_at=0.0, finished_at=0.0)
    (row,) = parse(result(instant, duration=0.0)).find("summary")
    (track,) = row.find("span", class_="track")
    assert track.attributes["aria-label"] == "took no time; done"
    assert track.text == "•"


@given(results)
def test_no_text_breaks_the_page(given: Result) -> None:
    page = to_html(given)
    assert page.encode("utf-8")
    root = Parser(page).root
    check_self_contained(root)
    check_accessible(root)
    assert len(root.find("details")) == len(given.nodes)
    assert all(0 <= float(share) <= 100.001 for share in re.findall(r"(?:left|width):([^;\"]+)%[;\"]", page))


def test_the_demo_s_page_is_self_contained_and_accessible(demo: Result) -> None:
    root = parse(demo)
    check_self_contained(root)
    check_accessible(root)


def check_self_contained(root: Element) -> None:
    """Nothing is loaded, nothing runs, whatever the texts are."""
    assert {found.name for found in root.walk() if found.name} <= ELEMENTS
    for found in root.walk():
        names = set(found.attributes)
        assert not names & {"src", "srcset", "action", "formaction", "data", "poster", "xlink:href"}
        assert not any(name.startswith("on") for name in names)
        assert found.attributes.get("href", "#").startswith("#")
        assert "url(" not in found.attributes.get("style", "")
    (policy,) = root.find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy.attributes["content"].startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert not re.search(r"url\(|@import|https?:", root.find("style")[0].text)


def check_accessible(root: Element) -> None:
    """What a keyboard and a screen reader need."""
    assert root.find("html")[0].attributes["lang"] == "en"
    assert root.find("title")[0].text.strip()
    ids = [found.attributes["id"] for found in root.walk() if "id" in found.attributes]
    assert len(ids) == len(set(ids))
    for found in root.walk():
        target = found.attributes.get("href", "#")[1:] or found.attributes.get("aria-labelledby", "")
        assert not target or target in ids
        if "tabindex" in found.attributes:
            assert found.attributes["tabindex"] == "0"
            assert found.attributes["role"] == "region"
            assert found.attributes["aria-label"]
        if found.attributes.get("role") == "img":
            assert found.attributes["aria-label"]
    assert [heading.name for heading in root.walk() if re.fullmatch(r"h\d", heading.name)] == ["h1"] + [
        "h2"
    ] * 4
    for details in root.find("details"):
        (summary, *_) = details.children
        assert isinstance(summary, Element)
        assert summary.name == "summary", "its summary takes the focus, and Enter opens it"
        assert summary.find("span", role="img")
        assert summary.find("span", class_="status")[0].text, "the status is a word"
    for svg in root.find("svg"):
        assert svg.attributes["aria-hidden"] == "true", "the lists and the table say the same"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_from_the_paper(scheme: str) -> None:
    """WCAG 2.2: 4.5 for text, 3 for what is drawn."""
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    )
    colours = light if scheme == "light" else dark
    for paper in ("paper", "card"):
        for text in ("ink", "soft", "lost"):
            assert contrast(colours[text], colours[paper]) >= 4.5
        for drawn in ("decode", "plan", "call", "engine", "wait", "width", "focus"):
            assert contrast(colours[drawn], colours[paper]) >= 3, (drawn, paper)
    assert contrast(colours["ink"], colours["note"]) >= 4.5


def test_motion_is_only_for_those_who_want_it() -> None:
    quiet = re.sub(r"@media \(prefers-reduced-motion: no-preference\) \{.*?\n\}", "", STYLE, flags=re.DOTALL)
    assert quiet != STYLE
    assert not re.search("transition|animation", quiet)


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
