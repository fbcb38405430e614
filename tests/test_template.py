"""Templates."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.errors import ConfigurationError
from flowdecode.template import Field, parse_template

names = st.text(string.ascii_letters + "_é茶", min_size=1, max_size=4).filter(str.isidentifier)
literals = st.text(st.characters(codec=None, exclude_characters="{}"), max_size=8)


@given(st.text(st.characters(codec=None)))
def test_without_fields_every_brace_is_literal(template: str) -> None:
    assert parse_template(template, ()) == [template]


@given(st.lists(st.tuples(literals, names), min_size=1, max_size=5), literals)
def test_fields_and_literal_texts_alternate_and_give_the_template_again(
    pairs: list[tuple[str, str]], tail: str
) -> None:
    template = "".join(f"{literal}{{{name}}}" for literal, name in pairs) + tail
    parts = parse_template(template, {name for _, name in pairs})
    assert "".join(f"{{{part.name}}}" if isinstance(part, Field) else part for part in parts) == template
    assert [part.name for part in parts if isinstance(part, Field)] == [name for _, name in pairs]
    assert "" not in parts


@given(st.text("{}a1 .!", max_size=12), st.sets(st.sampled_from(["a", "a1", "aa"]), min_size=1))
def test_never_loses_a_character(template: str, fields: set[str]) -> None:
    try:
        parts = parse_template(template, fields)
    except ConfigurationError:
        return
    assert "".join(f"{{{part.name}}}" if isinstance(part, Field) else part for part in parts) == template


@pytest.mark.parametrize(
    "literal",
    ["{}", "{0}", "{ name }", "{a.b}", "{a[0]}", "{a!r}", "{a:>3}", '{"a": 1}', "{a-b}", "}{", "{", "}"],
)
def test_other_braces_are_literal_beside_fields(literal: str) -> None:
    assert parse_template(f"{literal}{{x}}", ("x",)) == [literal, Field("x")]


def test_doubled_braces_are_no_escape() -> None:
    assert parse_template("{{x}}", ("x",)) == ["{", Field("x"), "}"]


def test_a_field_may_stand_twice() -> None:
    assert parse_template("{x} and {x}", ("x",)) == [Field("x"), " and ", Field("x")]


def test_an_unbound_name_is_an_error_that_says_what_to_pass() -> None:
    with pytest.raises(ConfigurationError, match=r"got none for topic, zone.*Pass topic="):
        parse_template("{facts} {zone} {topic}", ("facts",))


def test_a_field_without_a_place_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"Expected \{facts\} in the template"):
        parse_template("Write.", ("facts",))
