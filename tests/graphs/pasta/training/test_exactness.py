"""What training sees equals what the interpreter's threads see: ids, positions, visibility and logits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import flowdecode
from flowdecode.context import Block, Context
from flowdecode_graphs.pasta import Pasta
from flowdecode_graphs.pasta.layout import Form
from flowdecode_graphs.pasta.training.rows import Example
from tests.graphs.pasta.forced import Forced, save_model
from tests.graphs.pasta.test_strands import ANSWER, PLAIN, QUESTION

torch: Any = pytest.importorskip("torch")
local: Any = pytest.importorskip("flowdecode_backends.local.backend")
engine_module: Any = pytest.importorskip("flowdecode_backends.local.engine")
collate: Any = pytest.importorskip("flowdecode_graphs.pasta.training.collate")

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


View = tuple[tuple[int, int], ...]
"""What a token sees, itself included: positions and ids, sorted."""


class Seen:
    """What the engine's threads saw when they fed a token: listens to `Step.feed`."""

    def __init__(self) -> None:
        self.views: set[View] = set()
        self._tokens: dict[int, int] = {}

    def listening(self, feed: Any) -> Any:
        def listen(step: Any, thread: Any, count: int) -> Any:
            number = feed(step, thread, count)
            fed = step._fed[-1]
            self._tokens.update(zip(fed.slots, fed.tokens, strict=True))
            slots = thread.seen.tolist()
            positions = step.pool.positions[slots].tolist()
            tokens = [self._tokens[slot] for slot in slots]
            self.views.add(tuple(sorted(zip(positions, tokens, strict=True))))
            return number

        return listen


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    found = Seen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module.Step, "feed", found.listening(engine_module.Step.feed))
        yield found


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model, and the backend that decodes with it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("exactness")
    model = save_model(folder)
    return model, local.Local(local.Source(str(folder), device="cpu"), threads=1)


@pytest.fixture(autouse=True)
async def opened(saved: tuple[Any, Any]) -> AsyncIterator[None]:
    async with saved[1]:
        yield


async def decode(backend: Any, form: Form, system: str | None, patch: pytest.MonkeyPatch) -> Forced:
    """Have the interpreter's threads say the answer."""
    blocks = [Block("system", system)] if system is not None else []
    prompt = backend.shared.model.tokens.render(Context.of([*blocks, Block("user", QUESTION)]))
    forced = Forced(backend.shared, prompt, ANSWER, form)
    patch.setattr(engine_module, "draw", forced.draw)
    result = await flowdecode.run(
        QUESTION, backend=backend, system=system, strategy=Pasta(shared_kv=form == "shared")
    )
    assert (result.text, result.status, result.strategy) == (PLAIN, "done", "pasta")
    return forced


@pytest.mark.parametrize("form", ["shared", "causal"])
@pytest.mark.parametrize("system", [None, "Be brief."])
async def test_a_batch_has_what_the_threads_decode(
    form: Form, system: str | None, saved: tuple[Any, Any], seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, backend = saved
    seen.views.clear()
    forced = await decode(backend, form, system, monkeypatch)
    tokenizer = backend.shared.model.tokens.tokenizer
    encoded = collate.encode(Example(QUESTION, ANSWER, system=system), tokenizer, form)
    batch = collate.Collator()([encoded, collate.encode(Example("Tea?", "Tea."), tokenizer)])
    model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        inputs = {name: batch[name] for name in ("input_ids", "position_ids", "attention_mask")}
        logits = model(**inputs, use_cache=False).logits[0]
        log_probs = collate.token_log_probs(model, batch)[0]
        model.set_attn_implementation("eager")
        eager = collate.token_log_probs(model, batch)[0]
    assert float((eager - log_probs).abs().max()) < 1e-4

    assert encoded.tokens[: len(forced.prompt)].tolist() == forced.prompt
    places = {key: index for index, key in forced.keys(form)}
    predictors = {int(target): index for index, target in enumerate(encoded.targets) if target >= 0}
    assert predictors.keys() == {places[key] for key in forced.logits}, "what is decoded, and nothing else"
    assert len(predictors) > 150
    for key, decoded in forced.logits.items():
        kind, number, place = key
        token = (forced.main if kind == "main" else forced.chunks[number])[place]
        index = predictors[places[key]]
        assert encoded.tokens[places[key]] == token
        assert float((logits[index] - decoded).abs().max()) < 1e-4
        assert abs(float(log_probs[index] - decoded.log_softmax(-1)[token])) < 1e-4
    mask = encoded.mask()
    for index in predictors.values():
        pairs = zip(
            encoded.positions[mask[index]].tolist(), encoded.tokens[mask[index]].tolist(), strict=True
        )
        assert tuple(sorted(pairs)) in seen.views


async def test_the_forms_are_told_apart(
    saved: tuple[Any, Any], seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: what follows the first promise is seen otherwise in the other form."""
    seen.views.clear()
    await decode(saved[1], "shared", None, monkeypatch)
    other = collate.encode(Example(QUESTION, ANSWER), saved[1].shared.model.tokens.tokenizer, "causal")
    mask = other.mask()
    last = int(max(index for index, target in enumerate(other.targets) if target >= 0))
    pairs = zip(other.positions[mask[last]].tolist(), other.tokens[mask[last]].tolist(), strict=True)
    assert tuple(sorted(pairs)) not in seen.views
