from __future__ import annotations

import re
import time
from itertools import pairwise
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowdecode.plan import DEFAULT_EXPECTED_TOKENS, Plan, PlanNode
from flowdecode_graphs.plato.grammar import MAX_NODES, MAX_TITLE, PLAN_GRAMMAR
from flowdecode_graphs.plato.language import MAX_EXPECTED_TOKENS, PlanParser, plan_line, plan_text


def read(text: str, *, max_nodes: int = MAX_NODES, thinking: bool = False) -> PlanParser:
    """A parser that has read all of `text`."""
    parser = PlanParser(max_nodes=max_nodes, thinking=thinking)
    parser.feed(text)
    parser.finish()
    return parser


class Output(NamedTuple):
    """What a planner wrote, and what is read from it."""

    name: str
    text: str
    plan: str
    """As `plan_text` prints it."""
    remarks: tuple[str, ...] = ()
    """How each remark begins."""


OUTPUTS = [
    Output(
        "canonical",
        "1. Origin (60)\n2. Pick a hotel (40, easy) <- 1 hidden\n3. Verdict (90, hard) <- 1, 2\n",
        "1. Origin (60)\n2. Pick a hotel (40, easy) <- 1 hidden\n3. Verdict (90, hard) <- 1, 2\n",
    ),
    Output("no newline at the end", "1. Origin (60)\n2. Taste (50)", "1. Origin (60)\n2. Taste (50)\n"),
    Output(
        "Windows line ends",
        "1. Origin (60)\r\n2. Taste (50) <- 1\r\n",
        "1. Origin (60)\n2. Taste (50) <- 1\n",
    ),
    Output(
        "prose on both sides",
        "Sure! Here is a plan for the answer:\n\n1. Origin (60)\n2. Taste (50)\n\n"
        "These parts can be written side by side.\n3. Not a part (60)\n",
        "1. Origin (60)\n2. Taste (50)\n",
    ),
    Output(
        "bold, with a prose heading",
        "## Plan\n\n1. **Origin** (60)\n2. **Taste and smell** (50)\n\n"
        "**3.** *Verdict* (40) <- **1**, **2**\n",
        "1. Origin (60)\n2. Taste and smell (50)\n3. Verdict (40) <- 1, 2\n",
    ),
    Output(
        "backticks and underscores",
        "1. `sorted` and `list.sort` (60)\n2. _Stability_ (50)\n",
        "1. sorted and list.sort (60)\n2. Stability (50)\n",
    ),
    Output(
        "headings",
        "### 1. Origin (60)\nabout the origin\n",
        "1. Origin (60)\n",
    ),
    Output(
        "steps", "Step 1: Origin (60)\nStep 2: Taste (50) <- Step 1\n", "1. Origin (60)\n2. Taste (50) <- 1\n"
    ),
    Output(
        "closing brackets", "1) Origin (60)\n2) Taste (50) <- 1\n", "1. Origin (60)\n2. Taste (50) <- 1\n"
    ),
    Output("brackets", "(1) Origin (60)\n[2] Taste (50) <- (1)\n", "1. Origin (60)\n2. Taste (50) <- 1\n"),
    Output("colons", "1: Origin (60)\n2: Taste (50) <- 1\n", "1. Origin (60)\n2. Taste (50) <- 1\n"),
    Output(
        "bullets with numbers",
        "* 1. Origin (60)\n- 2. Taste (50)\n• **3.** Verdict (40) <- 1, 2\n",
        "1. Origin (60)\n2. Taste (50)\n3. Verdict (40) <- 1, 2\n",
    ),
    Output(
        "bullets without numbers",
        "Points to cover:\n- tea\n- coffee\n\n* Origin (60)\n* Taste (50)\n* Verdict (40) <- 1, 2\n",
        "1. Origin (60)\n2. Taste (50)\n3. Verdict (40) <- 1, 2\n",
    ),
    Output(
        "details under numbers",
        "1. Origin (60)\n   - China (20)\n   - 1.5 billion cups\n2. Taste (50)\n   Depends on: 1\n",
        "1. Origin (60)\n2. Taste (50)\n",
        ("Ignored parents that are not on their node's line",),
    ),
    Output(
        "a code fence",
        "```plan\n1. Origin (60)\n2. Taste (50)\n```\nDone.\n",
        "1. Origin (60)\n2. Taste (50)\n",
    ),
    Output(
        "dependencies in words",
        "1. Origin (60) Deps: none\n2. Taste (50), depends on 1\n3. Price - 40 tokens - dependencies: none\n"
        "4. Verdict (depends on 1, 2 and 3) (90)\n5. Title (deps: 4; ~20 tokens)\n6. Coda [needs 5] (10)\n",
        "1. Origin (60)\n2. Taste (50) <- 1\n3. Price (40)\n4. Verdict (90) <- 1, 2, 3\n"
        "5. Title (20) <- 4\n6. Coda (10) <- 5\n",
    ),
    Output(
        "arrows",
        "1. Origin (60) <- none\n2. Taste ← 1 (50)\n3. Verdict (40) <- #1, #2\n"
        "4. Title (30) <-- 1-3\n5. Input -> output (20) -> 4\n6. Coda (10) [4, 5]\n7. End (9) <- all\n",
        "1. Origin (60)\n2. Taste (50) <- 1\n3. Verdict (40) <- 1, 2\n"
        "4. Title (30) <- 1, 2, 3\n5. Input -> output (20) <- 4\n6. Coda (10) <- 4, 5\n"
        "7. End (9) <- 1, 2, 3, 4, 5, 6\n",
    ),
    Output(
        "odd lengths",
        "1. Origin (~60 tokens)\n2. Taste (about 1,200 tokens)\n3. Price – 60 tok\n"
        "4. Smell (80-100)\n5. Look (tokens: 70)\n6. What it depends on (60 tokens max)\n",
        "1. Origin (60)\n2. Taste (1200)\n3. Price (60)\n4. Smell (100)\n5. Look (70)\n"
        "6. What it depends on (60)\n",
    ),
    Output(
        "lengths out of bounds",
        "1. Origin (0)\n2. Taste (99999)\n",
        f"1. Origin (1)\n2. Taste ({MAX_EXPECTED_TOKENS})\n",
        ("Took 1 for a length", "Took 4096 for a length"),
    ),
    Output(
        "no lengths",
        "1. Origin\n2. Taste <- 1\n3. Costs in 2024\n",
        f"1. Origin ({DEFAULT_EXPECTED_TOKENS})\n2. Taste ({DEFAULT_EXPECTED_TOKENS}) <- 1\n"
        f"3. Costs in 2024 ({DEFAULT_EXPECTED_TOKENS})\n",
    ),
    Output(
        "flags in several places",
        "1. Facts (60, hidden)\n2. Draft (60) [hidden] <- 1\n3. Verdict (hard, 40 tokens) <- 2\n"
        "4. Hidden costs (30) easy\n",
        "1. Facts (60) hidden\n2. Draft (60) <- 1 hidden\n3. Verdict (40, hard) <- 2\n"
        "4. Hidden costs (30, easy)\n",
    ),
    Output(
        "descriptions after the length",
        "1. Origin (60): where tea is from, and what is hard to know\n2. Taste (50) <- 1: the 3 main notes\n",
        "1. Origin (60)\n2. Taste (50) <- 1\n",
    ),
    Output(
        "brackets in titles",
        "1. Write parse(text) (60)\n2. Costs (in euros) per year (50)\n3. Find f(2) (40) <- (2)\n",
        "1. Write parse text (60)\n2. Costs in euros per year (50)\n3. Find f 2 (40) <- 2\n",
    ),
    Output(
        "a thought before the plan",
        "<think>\nParts:\n1. One (60)\n2. Two (60)\ndirect\n</think>\n\n1. Origin (60)\n",
        "1. Origin (60)\n",
    ),
    Output(
        "a thought in a line",
        "1. Origin <think>or\n2. history?</think>(60)\n2. Taste (50)\n",
        "1. Origin (60)\n2. Taste (50)\n",
    ),
    Output(
        "a thought that does not end",
        "<think>\n1. Origin (60)\n",
        "",
        ("Ignored a thought that did not end",),
    ),
    Output(
        "a thought that began in the prompt", "The user wants...</think>1. Origin (60)\n", "1. Origin (60)\n"
    ),
    Output(
        "a plan in a thought that began in the prompt",
        "1. One (60)\n</think>\n1. Origin (60)\n2. Taste (50)\n",
        "1. One (60)\n2. Taste (50)\n",
        ("Read nodes from what proved to be a thought", "Dropped another line with the number 1"),
    ),
    Output(
        "a loop",
        "1. Origin (60)\n2. Taste (50)\n1. Origin (60)\n2. Taste (50)\n",
        "1. Origin (60)\n2. Taste (50)\n",
        ("Dropped another line with the number 1", "Dropped another line with the number 2"),
    ),
    Output(
        "numbers that skip",
        "0. Origin (60)\n2. Taste (50)\n5. Verdict (40) <- 0, 2\n6. Title (20) <- 5\n",
        "1. Origin (60)\n2. Taste (50)\n3. Verdict (40) <- 1, 2\n4. Title (20) <- 3\n",
        ("Renumbered 0 to 1", "Renumbered 5 to 3", "Renumbered 6 to 4"),
    ),
    Output(
        "parents that are no earlier nodes",
        "1. Origin (60) <- 2\n2. Taste (50) <- 2, 1, 9\n3. (20)\n4. Verdict (40) <- 3\n",
        "1. Origin (60)\n2. Taste (50) <- 1\n3. Verdict (40)\n",
        (
            "Dropped parents that are no earlier nodes (2)",
            "Dropped parents that are no earlier nodes (2, 9)",
            "Dropped a line without a title",
            "Renumbered 4 to 3",
            "Dropped parents that are no earlier nodes (3)",
        ),
    ),
    Output(
        "parents twice and unordered",
        "1. Origin (60)\n2. Taste (50)\n3. Verdict (40) <- 2, 1, 2\n",
        "1. Origin (60)\n2. Taste (50)\n3. Verdict (40) <- 1, 2\n",
    ),
    Output("titles twice", "1. Origin (60)\n2. Origin (60)\n", "1. Origin (60)\n2. Origin (60)\n"),
    Output(
        "a long title",
        f"1. {'Explain ' * 12}(60)\n",
        f"1. {'Explain ' * 7}(60)\n",
        (f"Shortened a title to {MAX_TITLE} characters",),
    ),
    Output(
        "a line far too long",
        f"1. Origin (60)\n2. {'x' * 500} (60)\n3. Taste (50)\n",
        "1. Origin (60)\n2. Taste (50)\n",
        ("Dropped a line of more than 400 characters", "Renumbered 3 to 2"),
    ),
    Output("an answer in place of a plan", "Tea comes from China.\n\nCoffee comes from Ethiopia.\n", ""),
]


@pytest.mark.parametrize("output", OUTPUTS, ids=[output.name for output in OUTPUTS])
def test_reads_what_models_write(output: Output) -> None:
    parser = read(output.text)
    assert plan_text(parser.nodes) == output.plan
    assert len(parser.remarks) == len(output.remarks), parser.remarks
    for remark, start in zip(parser.remarks, output.remarks, strict=True):
        assert remark.startswith(start)
    assert not parser.direct


@pytest.mark.parametrize(
    "text",
    [
        "direct",
        "direct\n",
        "Direct.\r\n",
        "**DIRECT**\n",
        "`direct`",
        "- direct",
        '"direct"\n',
        "1. direct\n",
        "<think>1. A (60)</think>\ndirect\n",
        "```\ndirect\n```",
        "I choose:\n\ndirect\n\n1. Origin (60)\n",
    ],
)
def test_direct_means_no_plan(text: str) -> None:
    parser = read(text)
    assert (parser.direct, parser.done, parser.nodes) == (True, True, [])


@pytest.mark.parametrize("text", ["directly\n", "A direct answer\n", "not direct\n"])
def test_direct_stands_alone(text: str) -> None:
    assert not read(text).direct


def test_direct_after_a_node_is_prose() -> None:
    parser = read("1. Origin (60)\ndirect\n2. Taste (60)\n")
    assert not parser.direct
    assert plan_text(parser.nodes) == "1. Origin (60)\n"


def test_a_node_comes_with_its_newline() -> None:
    parser = PlanParser()
    assert parser.feed("1. Orig", 3) == []
    assert parser.feed("in (60)", 7) == []
    first = PlanNode(id=1, title="Origin", expected_tokens=60, offset=8)
    second = PlanNode(id=2, title="Taste", expected_tokens=50, parents=(1,), offset=8)
    assert parser.feed("\n2. Taste (50) <- 1\n3. Ver", 8) == [first, second]
    assert parser.feed("dict", 9) == []
    assert parser.finish(9) == [PlanNode(id=3, title="Verdict", offset=9)]
    assert parser.nodes[:2] == [first, second]
    assert parser.feed("\n4. More (60)\n", 20) == []
    assert parser.finish(20) == []


def test_done_when_nothing_more_can_come() -> None:
    parser = PlanParser()
    parser.feed("Here is the plan.\n1. Origin (60)\n\n---\n```\n")
    before = parser.done
    parser.feed("I hope this helps.\n")
    assert (before, parser.done) == (False, True)
    assert parser.feed("2. Taste (60)\n") == []


def test_done_when_the_plan_is_full() -> None:
    text = "".join(f"{k}. Part {k} (60)\n" for k in range(1, 30))
    parser = PlanParser()
    for line in text.splitlines(keepends=True)[:MAX_NODES]:
        assert not parser.done
        parser.feed(line)
    assert parser.done
    assert parser.remarks == []
    parser = read(text)
    assert len(parser.nodes) == MAX_NODES
    assert parser.remarks == [f"Ignored all after the first {MAX_NODES} nodes: '17. Part 17 (60)'."]
    assert len(read(text, max_nodes=3).nodes) == 3


def test_thinking_begins_in_the_prompt() -> None:
    parser = read("1. One (60)\n2. Two (60)\n</think>\n\n1. Origin (60)\n", thinking=True)
    assert plan_text(parser.nodes) == "1. Origin (60)\n"
    assert parser.remarks == []


def test_remarks_quote_the_line_and_are_bounded() -> None:
    assert read("1. Origin (60) <- 3\n").remarks == [
        "Dropped parents that are no earlier nodes (3): '1. Origin (60) <- 3'."
    ]
    parser = read("1. Origin (60)\n" + f"1. {'again ' * 50}(60)\n" * 1000)
    assert 10 < len(parser.remarks) < 50
    assert all(len(remark) < 200 for remark in parser.remarks)


def test_a_title_is_kept_as_it_was_meant() -> None:
    parser = read('1. **Find** `f(2)` in List<int> (60)\n2. C# (60)\n3. "Why?": (60)\n')
    assert [node.title for node in parser.nodes] == ["Find f(2) in List<int>", "C#", '"Why?"']


def test_prints_what_a_line_can_hold() -> None:
    node = PlanNode(
        id=3, title=" **Go** (to)\n Rome: ", instruction="By train.", parents=(2, 1, 2), expected_tokens=0
    )
    assert plan_line(node) == "3. Go to Rome (1) <- 1, 2"
    assert plan_line(PlanNode(id=3, title="*", expected_tokens=99_999)) == "3. Part 3 (4096)"


WORDS = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="()<←*`_-–—:;,|.=~≈[{#>"),
    min_size=1,
    max_size=12,
)
TITLES = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


@st.composite
def plans(draw: st.DrawFn, titles: st.SearchStrategy[str] = TITLES, most: int = 6) -> list[PlanNode]:
    return [
        PlanNode(
            id=k,
            title=draw(titles),
            parents=tuple(sorted(draw(st.sets(st.integers(1, k - 1))))) if k > 1 else (),
            expected_tokens=draw(st.integers(1, MAX_EXPECTED_TOKENS)),
            shown=draw(st.booleans()),
            difficulty=draw(st.sampled_from([None, "easy", "hard"])),
        )
        for k in range(1, draw(st.integers(1, most)) + 1)
    ]


@settings(deadline=None)
@given(plans())
def test_what_is_printed_is_read_again(nodes: list[PlanNode]) -> None:
    parser = read(plan_text(nodes))
    assert parser.nodes == nodes
    assert parser.remarks == []


FRAGMENTS = [
    *(
        "\n",
        "\n",
        "\r\n",
        " ",
        "  ",
        "<think>",
        "</think>",
        "<th",
        "<",
        "```",
        "direct",
        "prose",
        "- ",
        "* ",
        "# ",
    ),
    *(
        "1. ",
        "2. ",
        "2) ",
        "**3.** ",
        "(4) ",
        "5: ",
        "10. ",
        "17. ",
        "Tea",
        "Tea (60)",
        "Coffee",
        "hidden",
        "hard",
    ),
    *(
        "(60)",
        "(~60 tokens)",
        "60 tok",
        "(0)",
        "(99999)",
        "(60, hard)",
        "(60",
        ")",
        "(",
        "[",
        "]",
        ",",
        ":",
        "*",
    ),
    *(
        "<- 1",
        "<- 1, 2",
        "<-",
        "←",
        "depends on 1 and 2",
        "Deps: none",
        "(needs 1)",
        "all",
        "1-3",
        "\x00",
        "\ud800",
    ),
]
ANYTHING = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=40).map("".join)


@st.composite
def mutated_plans(draw: st.DrawFn) -> str:
    text = plan_text(draw(plans(st.sampled_from(["Tea", "Coffee and milk", "茶", "Hidden costs (2024)"]))))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from(FRAGMENTS)) + text[place + draw(st.integers(0, 9)) :]
    return text


NEAR_NOTES = [
    *(
        "What it depends on",
        "Deps",
        "Burn 60 tokens",
        "60 tok, 50 tok",
        "Life after 1945",
        "Hidden, hidden",
        "A - hidden",
    ),
    *(
        "Needs: 3",
        "Steps 1-3",
        "1. A",
        "- A",
        "_A_",
        "Hard (easy)",
        "f(2)",
        "A [1, 2]",
        "(1, 2)",
        "-> 1",
        "a < b",
    ),
]
TEXTS = ANYTHING | mutated_plans() | st.sampled_from([output.text for output in OUTPUTS])


@settings(deadline=None)
@given(TEXTS, st.lists(st.integers(0, 400), max_size=8))
@example("1. Tea (60)\r\n<think>\n</think>2. Milk (60)", [12, 13, 16, 20, 23])
def test_pieces_do_not_matter(text: str, places: list[int]) -> None:
    by_character = PlanParser()
    for end, character in enumerate(text, start=1):
        by_character.feed(character, end)
    by_character.finish(len(text))

    ends = [0, *sorted(place for place in places if place <= len(text)), len(text)]
    in_pieces, fed = PlanParser(), list[PlanNode]()
    for start, end in pairwise(ends):
        fed += in_pieces.feed(text[start:end], end)
    fed += in_pieces.finish(len(text))

    assert fed == in_pieces.nodes
    # A node's offset is the end of the piece that holds its newline.
    assert fed == [
        msgspec.structs.replace(node, offset=next(end for end in ends if end >= node.offset))
        for node in by_character.nodes
    ]
    assert in_pieces.remarks == by_character.remarks
    assert (in_pieces.direct, in_pieces.done) == (by_character.direct, by_character.done)


@settings(deadline=None)
@given(TEXTS, st.integers(1, MAX_NODES), st.booleans())
def test_any_text_gives_a_sound_plan(text: str, max_nodes: int, thinking: bool) -> None:
    parser = read(text, max_nodes=max_nodes, thinking=thinking)
    plan = Plan(tuple(parser.nodes), remarks=tuple(parser.remarks))
    assert [node.id for node in plan.nodes] == list(range(1, len(plan.nodes) + 1))
    assert len(plan.nodes) <= max_nodes
    assert all(list(node.parents) == sorted({*node.parents} & {*range(1, node.id)}) for node in plan.nodes)
    assert not (parser.direct and plan.nodes)
    assert Plan.from_json(plan.to_json()) == plan
    if plan.nodes:
        printed = plan_text(plan.nodes)
        assert re.fullmatch(PLAN_GRAMMAR.regex, printed)
        assert plan_text(read(printed).nodes) == printed


@settings(deadline=None)
@given(plans(st.text(max_size=80) | ANYTHING | st.sampled_from(NEAR_NOTES)))
def test_every_printed_plan_is_in_the_grammar(nodes: list[PlanNode]) -> None:
    text = plan_text(nodes)
    assert re.fullmatch(PLAN_GRAMMAR.regex, text)
    assert plan_text(read(text).nodes) == text


@pytest.mark.parametrize(
    "unit",
    [
        "x",
        " ",
        "<",
        "</think",
        "9",
        "(",
        "1. ",
        "1. (1 -",
        "x\n",
        "1. Tea (60) <- 1, 2\n",
        "<think>1. Tea (60)\n",
    ],
)
def test_time_grows_with_the_text_and_not_faster(unit: str) -> None:
    def seconds(size: int) -> float:
        text = (unit * (size // len(unit) + 1))[:size]
        parser = PlanParser()
        start = time.process_time()
        for character in text:
            parser.feed(character)
        parser.finish()
        return time.process_time() - start

    small = min(seconds(4_000) for _ in range(3))
    assert seconds(64_000) < 16 * small * 4  # quadratic time would be 256 times as long
