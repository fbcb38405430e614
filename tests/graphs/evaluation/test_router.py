from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from flowdecode.result import Result
from flowdecode_backends.simulated import simulate
from flowdecode_graphs.evaluation.answers import Answered
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.evaluation.measures import Pair, pairs_of
from flowdecode_graphs.evaluation.router import ROUTE, router_variants, routings
from flowdecode_graphs.evaluation.runner import Runner
from tests.graphs.evaluation.engines import Engine, begin, items_of


def pair(item: Item, variant: str, seconds: float, *, strategy: str = "plato", text: str = "") -> Pair:
    result = Result(id="r", text=text, model="m", strategy=strategy, status="done", duration=seconds)
    plain = msgspec.structs.replace(result, strategy="sequential", duration=3.0)
    return Pair(item, Answered(item=item.id, variant=variant, repeat=1, result=result), result, plain)


def test_a_model_that_knows_agrees_with_the_atlas(tmp_path: Path) -> None:
    items = items_of("guide", "comparison", "short", "outside")
    folder, manifest = begin(tmp_path, items, router_variants())
    simulate(Runner(folder, manifest, router_variants(), connect=Engine()).run())
    auto, route = routings(pairs_of(items, folder.answers()))
    assert (auto.router, auto.right_parallel, auto.right_sequential) == ("auto", 2, 2)
    assert (route.router, route.right_parallel, route.right_sequential) == (ROUTE, 1, 3)
    assert auto.agreement is not None
    assert (auto.agreement.value, auto.chance, auto.kappa) == (1.0, 0.5, 1.0)
    assert auto.slowdown is None
    texts = {each.result.text for each in folder.answers() if each.variant == ROUTE and each.result}
    assert texts == {"A", "B", "C"}


def test_a_wrong_choice_costs_what_the_other_way_would_have_saved() -> None:
    list_like = Item(prompt="List?", independent=True, parallel=True)
    chain = Item(prompt="Chain?", independent=False, parallel=False)
    fine = Item(prompt="Fine?", independent=True, parallel=True)
    pairs = [
        pair(list_like, "auto", 3.1, strategy="sequential"),
        pair(list_like, "plato", 1.0),
        pair(chain, "auto", 6.1),
        pair(chain, "plato", 6.0),
        pair(fine, "auto", 1.0),
        pair(fine, "plato", 1.0),
    ]
    (auto,) = routings(pairs)
    assert (auto.right_parallel, auto.wrong_parallel, auto.wrong_sequential) == (1, 1, 1)
    assert auto.agreement is not None
    assert auto.agreement.value == pytest.approx(1 / 3)
    assert auto.slowdown is not None
    assert auto.slowdown.value == pytest.approx((3.0 / 1.0 * 6.0 / 3.0) ** 0.5)
    assert [auto.slowdown.low, auto.slowdown.high] == pytest.approx([2.0, 3.0])
    assert auto.quality_lost is None


def test_prompts_without_a_label_count_for_nothing() -> None:
    (auto,) = routings([pair(Item(prompt="Tea?"), "auto", 1.0)])
    assert auto.agreement is None
