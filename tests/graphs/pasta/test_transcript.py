"""What was decoded is read back from a run's result, tags and all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flowdecode
from flowdecode.backend import Capabilities
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_graphs.pasta import Pasta
from flowdecode_graphs.pasta.document import Document
from flowdecode_graphs.pasta.layout import Form, lay_out, tokenized
from flowdecode_graphs.pasta.transcript import Transcript, transcript
from tests.graphs.pasta.scripts import CHUNKS, COFFEE, MAIN, PLAIN, TEA, Coalescing, pasta

pytestmark = pytest.mark.anyio

DOCUMENT = (
    f"Two drinks. {TEA}<async>{CHUNKS[0]}</async> And then {COFFEE}<async>{CHUNKS[1]}</async>\n"
    "<sync/>So drink tea."
)


def encode(text: str) -> list[int]:
    return list(text.encode())


async def decoded(reply: Callable[[Any], Reply], size: int = 1, **settings: Any) -> Transcript:
    engine = Coalescing(reply)
    engine.size = size
    result = await flowdecode.run("Tea?", backend=engine, strategy=Pasta(**settings))
    said = transcript(result, "causal")
    if said.well_formed:
        assert Document.parse(str(said)).text == result.text
    return said


@pytest.mark.parametrize("size", [1, 2, 3, 7, 200])
async def test_a_well_formed_answer_is_the_document_that_was_decoded(size: int) -> None:
    said = await decoded(pasta(), size)
    assert said.well_formed
    assert str(said) == DOCUMENT
    document = Document.parse(DOCUMENT)
    assert said.tokenized(encode, [0])[:-1] == tokenized(document, encode)


@pytest.mark.parametrize(
    "text", ["", "Tea is tea.", "Zwei Getränke \N{TEACUP WITHOUT HANDLE}: 茶\nund Kaffee."]
)
async def test_an_answer_without_tags_is_a_document(text: str) -> None:
    said = await decoded(pasta((text,)))
    assert (str(said), said.well_formed) == (text, True)


async def test_several_syncs_and_chunks_at_the_end() -> None:
    main = (f"{TEA}<sync/>", f"Now {COFFEE} ok.<sync/>", f"End. {TEA}")
    said = await decoded(pasta(main, (*CHUNKS, "Ü: \N{SNOWMAN}")))
    assert said.well_formed
    assert str(said) == (
        f"{TEA}<async>{CHUNKS[0]}</async><sync/>Now {COFFEE}<async>{CHUNKS[1]}</async> ok.<sync/>"
        f"End. {TEA}<async>Ü: \N{SNOWMAN}</async>"
    )


async def test_what_was_said_behind_a_sync_before_it_was_heard_is_left_out() -> None:
    def reply(request: Any) -> Reply:
        first = request.context.block.role == "user"
        return Reply(f"{MAIN[0]} So drink water.") if first else pasta()(request)

    said = await decoded(reply, 200)
    assert str(said) == DOCUMENT


@pytest.mark.parametrize(
    ("main", "broken"),
    [
        ("<sync/>Tea.", "<sync/>Tea."),
        ("Tea.</async> Yes.<async>", "Tea.</async> Yes.<async>"),
        ('<promise topic="" tokens="20"/>.', f'<promise topic="" tokens="20"/><async>{CHUNKS[0]}</async>.'),
        ("Tea <promise topic", "Tea <promise topic"),
        ("Tea <promise topic=\nis.", "Tea <promise topic=\nis."),
        (f"{TEA}<sync />.", f"{TEA}<async>{CHUNKS[0]}</async><sync />{CHUNKS[1]}"),
    ],
)
async def test_broken_tags_stand_as_they_were_decoded(main: str, broken: str) -> None:
    parts = (main.removesuffix("."), CHUNKS[1]) if "<sync />" in main else (main,)
    said = await decoded(pasta(parts))
    assert not said.well_formed
    assert str(said) == broken
    main_tokens = [part for part in said.tokenized(encode, [0]) if part[0]]
    assert lay_out(main_tokens, "shared").tokens[-1] == 0


async def test_promises_beyond_the_limit_have_no_chunk() -> None:
    said = await decoded(pasta(), chunks=1)
    assert not said.well_formed
    assert f"{TEA}<async>{CHUNKS[0]}</async> And then {COFFEE}\n<sync/>" in str(said)


async def test_a_thread_that_was_cut_off_has_no_end_to_be_learnt() -> None:
    engine = Scripted(pasta())
    result = await flowdecode.run("Tea?", backend=engine, strategy="pasta", max_tokens=12)
    assert result.status == "truncated"
    said = transcript(result, "causal")
    assert not said.well_formed
    layout = lay_out(said.tokenized(encode, [0]))
    assert 0 not in layout.tokens


async def test_a_chunk_of_one_cache_that_ends_its_turn_is_not_closed() -> None:
    """Of requests, an engine tells no more than that the chunk has ended."""
    result = await flowdecode.run("Tea?", backend=Scripted(pasta()), strategy="pasta")
    shared = transcript(result, "shared")
    assert not shared.well_formed
    assert f"{TEA}<async>{CHUNKS[0]} And then" in str(shared)
    layout = lay_out(shared.tokenized(encode, [0]))
    assert layout.tokens.count(0) == 3, "of each chunk, and of the main thread"


@pytest.mark.parametrize("form", ["shared", "causal"])
async def test_a_fallback_and_another_strategy_give_one_text(form: Form) -> None:
    unable = Scripted([Reply("Tea.")], capabilities=Capabilities())
    fell_back = await flowdecode.run("Tea?", backend=unable, strategy="pasta")
    assert fell_back.fallback_reason is not None
    said = transcript(fell_back, form)
    assert (str(said), said.well_formed) == ("Tea.", False)
    plain = await flowdecode.run("Tea?", backend=Scripted([Reply(PLAIN)]), strategy="sequential")
    assert (str(transcript(plain, form)), transcript(plain, form).well_formed) == (PLAIN, True)


async def test_an_answer_with_a_hole_is_no_document() -> None:
    failing = Reply(CHUNKS[1], pace=0.0, fault=Fault(2, "rejected"))
    engine = Scripted(pasta(chunks=(CHUNKS[0], failing)))
    result = await flowdecode.run("Tea?", backend=engine, strategy="pasta", on_error="partial")
    said = transcript(result, "causal")
    assert (result.status, said.well_formed) == ("partial", False)
    assert f"{COFFEE}<async>Coffee " in str(said)
