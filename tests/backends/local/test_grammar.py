"""Constrained decoding: what is decoded is of the grammar's language, whatever the model would say."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from flowdecode.backend import Grammar, Load, Request
from flowdecode.context import Block, Context
from flowdecode.errors import BackendError, RequestRejected
from flowdecode.sampling import SamplingParams
from flowdecode_graphs.plato.grammar import PLAN_GRAMMAR
from tests.backends.local.models import save
from tests.backends.local.tokenizers import make_tokenizer, word_piece_tokenizer
from tests.graphs.test_plan_grammar import ACCEPTED, REJECTED

pytest.importorskip("llguidance")
local: Any = pytest.importorskip("flowdecode_backends.local.backend")
grammars: Any = pytest.importorskip("flowdecode_backends.local.grammar")

END = 3
TOKENIZERS = [make_tokenizer("qwen3"), word_piece_tokenizer("first")]


def compiler(tokenizer: Any = TOKENIZERS[0], vocabulary: int = 400) -> Any:
    return grammars.Grammars.of(tokenizer, vocabulary, [END])


def follows(matcher: Any, ids: list[int]) -> bool:
    """Whether the ids are a text of the grammar."""
    for token in ids:
        if not matcher.allowed()[token]:
            return False
        matcher.accept(token)
    return bool(matcher.ended or matcher.allowed()[END])


@pytest.mark.parametrize("text", ACCEPTED + REJECTED)
def test_a_plan_is_followed_to_its_end_and_nothing_else_is(text: str) -> None:
    matcher = compiler().matcher(PLAN_GRAMMAR)
    assert follows(matcher, TOKENIZERS[0].encode(text)) == (text in ACCEPTED)


def test_a_grammar_is_compiled_once_and_its_answers_do_not_mix() -> None:
    ours = compiler()
    one, other = ours.matcher(PLAN_GRAMMAR), ours.matcher(PLAN_GRAMMAR)
    assert follows(one, TOKENIZERS[0].encode("direct\n"))
    assert one.ended
    assert follows(other, TOKENIZERS[0].encode("1. Tea (60)\n"))
    assert not other.ended
    assert ours._compiled.cache_info().misses == 1


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("vocabulary", [300, 322, 512])
def test_masks_are_as_long_as_the_logits(tokenizer: Any, vocabulary: int) -> None:
    allowed = compiler(tokenizer, vocabulary).matcher(Grammar("", "[a-c]+")).allowed()
    assert allowed.shape == (vocabulary,)
    said = [tokenizer.convert_ids_to_tokens(index) for index in allowed.nonzero()[:, 0].tolist()]
    assert set("abc") <= set(said)
    assert all(set(piece) <= set("abc") for piece in said)


@pytest.mark.parametrize("regex", ["a(", "[^", "(?=a)b"])
def test_what_can_not_be_compiled_is_refused(regex: str) -> None:
    with pytest.raises(RequestRejected, match="Expected a regular expression"):
        compiler().matcher(Grammar("", regex))


def test_a_token_that_was_not_allowed_is_an_error() -> None:
    matcher = compiler().matcher(Grammar("", "a"))
    with pytest.raises(BackendError, match="can't be followed"):
        matcher.accept(TOKENIZERS[0].encode("b")[0])


def request(grammar: Grammar | None, **sampling: Any) -> Request:
    context = Context.of([Block("user", "Plan an essay on tea.")])
    params = SamplingParams.read({"max_tokens": 600, **sampling})
    return Request(id="r-", run_id="run", context=context, sampling=params, grammar=grammar)


async def decode(backend: Any, wanted: Request) -> tuple[str, str | None, int]:
    async with backend.decode(wanted) as stream:
        text = "".join([delta.text async for delta in stream])
        return text, stream.finish_reason, stream.usage.completion_tokens


@pytest.mark.anyio
async def test_a_model_that_knows_nothing_of_plans_writes_them(tmp_path: Path) -> None:
    backend = local.Local(local.Source(str(save(tmp_path, "llama"))), threads=1)
    async with backend as entered:
        assert entered.engine.capabilities.grammar
        kinds: list[dict[str, Any]] = [
            {"temperature": 0},
            *({"temperature": 1.5, "seed": seed} for seed in range(4)),
        ]
        for sampling in kinds:
            text, reason, _ = await decode(entered, request(PLAN_GRAMMAR, **sampling))
            whole, _, rest = text.rpartition("\n")
            assert re.fullmatch(PLAN_GRAMMAR.regex, whole + "\n")
            assert not rest or reason == "length"
        said = await decode(entered, request(Grammar("", "tea leaves"), temperature=0))
        assert said[:2] == ("tea leaves", "stop")
        assert said[2] <= len("tea leaves"), "nothing is decoded to find that nothing more can come"
        short = await decode(entered, request(PLAN_GRAMMAR, temperature=0, max_tokens=2))
        assert short[1:] == ("length", 2)
        with pytest.raises(RequestRejected, match="Expected a regular expression"):
            await decode(entered, request(Grammar("", "(")))


@pytest.mark.anyio
async def test_a_grammar_that_becomes_too_much_ends_its_own_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accept(matcher: Any, token: int) -> None:
        raise BackendError("The grammar can't be followed any further: too complex")

    monkeypatch.setattr(grammars.Matcher, "accept", accept)
    backend = local.Local(local.Source(str(save(tmp_path, "llama"))), threads=1)
    async with backend as entered:
        plain, constrained = await asyncio.gather(
            decode(entered, request(None, temperature=0, max_tokens=5)),
            decode(entered, request(PLAN_GRAMMAR)),
            return_exceptions=True,
        )
        assert isinstance(constrained, BackendError)
        assert not isinstance(plain, BaseException)
        assert await decode(entered, request(None, temperature=0, max_tokens=5)) == plain
        assert await entered.load() == Load(0, 0)


@pytest.mark.anyio
async def test_without_llguidance_there_are_no_grammars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance.hf", None)
    backend = local.Local(local.Source(str(save(tmp_path, "llama"))), threads=1)
    async with backend as entered:
        assert not entered.engine.capabilities.grammar
        with pytest.raises(RequestRejected, match="Expected no grammar"):
            await decode(entered, request(PLAN_GRAMMAR))
        assert (await decode(entered, request(None, max_tokens=3)))[2] <= 3
