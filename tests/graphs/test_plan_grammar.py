from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowdecode_graphs.plato.grammar import MAX_NODES, MAX_TITLE, PLAN_GRAMMAR

FULL = "".join(
    f"{k}. Part {k} (60)" + (f" <- {', '.join(map(str, range(1, k)))}" if k > 1 else "") + "\n"
    for k in range(1, MAX_NODES + 1)
)

ACCEPTED = [
    "direct\n",
    "1. A (1)\n",
    "1. A (9999)\n",
    "1. Origin (60)\n2. Pick a hotel (40) <- 1 hidden\n3. Verdict (60, hard) <- 1, 2\n",
    "1. Only this (60, easy) hidden\n",
    "1. Über 東京 🚀 (60)\n",
    '1. It\'s "a" [b] {c} \\ ^ - / | ?! C++ 3.14 (60)\n',
    f"1. {'x' * MAX_TITLE} (60)\n",
    "1. A (1)\n2. B (1)\n3. C (1)\n4. D (1) <- 1, 3\n5. E (1) <- 2\n",
    FULL,
]

REJECTED = [
    "",
    "\n",
    "direct",
    "Direct\n",
    "direct\n1. A (1)\n",
    "1. A (1)\ndirect\n",
    "1. A (1)",
    "1. A (1)\n\n",
    "1. A (1)\r\n",
    "1. A\n",
    "1. A(1)\n",
    "1.  A (1)\n",
    "1. (1)\n",
    "1. A (0)\n",
    "1. A (01)\n",
    "1. A (10000)\n",
    "1. A (1, medium)\n",
    "1. A (1) <- 1\n",
    "1. A (1) hidden <- 1\n",
    "1. **A** (1)\n",
    "1. `A` (1)\n",
    "1. A (b) (1)\n",
    "1. A <- (1)\n",
    "1. A\tB (1)\n",
    f"1. {'x' * (MAX_TITLE + 1)} (60)\n",
    "2. A (1)\n",
    "1. A (1)\n3. B (1)\n",
    "1. A (1)\n1. B (1)\n",
    "1. A (1)\n2. B (1) <- 2\n",
    "1. A (1)\n2. B (1) <- 3\n",
    "1. A (1)\n2. B (1) <- 0\n",
    "1. A (1)\n2. B (1) <- 1, 1\n",
    "1. A (1)\n2. B (1) <- 1,\n",
    "1. A (1)\n2. B (1)\n3. C (1) <- 2, 1\n",
    FULL + f"{MAX_NODES + 1}. One more (60)\n",
]

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[\w]+|\{[0-9,]+\}|[()|?*+]|\s+')


def rules() -> dict[str, list[str]]:
    """The EBNF's rules by name, as tokens."""
    named: dict[str, list[str]] = {}
    for line in PLAN_GRAMMAR.ebnf.splitlines():
        name, body = line.split(" ::= ")
        assert name not in named
        assert TOKEN.sub("", body) == ""
        named[name] = TOKEN.findall(body)
    return named


def as_regex(name: str, named: dict[str, list[str]]) -> str:
    """The language of a rule: the EBNF has no recursion, so that every name can be put in its place."""

    def piece(token: str) -> str:
        if token.startswith('"'):
            return f"(?:{re.escape(token[1:-1].replace(chr(92) + 'n', chr(10)))})"
        if token[0].isalpha():
            return as_regex(token, named)
        return "(?:" if token == "(" else token.strip()

    return f"(?:{''.join(map(piece, named[name]))})"


EBNF = re.compile(as_regex("root", rules()))


@pytest.mark.parametrize("text", ACCEPTED)
def test_the_grammar_accepts(text: str) -> None:
    assert re.fullmatch(PLAN_GRAMMAR.regex, text)
    assert EBNF.fullmatch(text)


@pytest.mark.parametrize("text", REJECTED)
def test_the_grammar_rejects(text: str) -> None:
    assert not re.fullmatch(PLAN_GRAMMAR.regex, text)
    assert not EBNF.fullmatch(text)


def test_every_rule_is_used() -> None:
    named = rules()
    used = {token for tokens in named.values() for token in tokens if token[0].isalpha()}
    assert used | {"root"} == set(named)


def test_the_regex_needs_no_special_engine() -> None:
    # Look-around, back-references, named groups and lazy repetition are what engines differ in.
    assert set(re.findall(r"\(\?.|\\[1-9]|[*+?}]\?", PLAN_GRAMMAR.regex)) == {"(?:"}


@settings(deadline=None)
@given(st.data())
def test_both_forms_are_the_same_language(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(ACCEPTED + REJECTED))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(text)))
        new = data.draw(
            st.sampled_from(["", " ", "\n", "1", ", ", "(", ")", "<- 1", "hidden", "é", "\x7f", "-"])
        )
        text = text[:place] + new + text[place + data.draw(st.integers(0, 2)) :]
    assert bool(re.fullmatch(PLAN_GRAMMAR.regex, text)) == bool(EBNF.fullmatch(text))
