"""Events as data: a closed union that is told apart by `type`."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from flowdecode import events
from flowdecode.events import AnswerDelta, Event, NodeFailed, NodePlanned, RunFinished

KINDS: tuple[type, ...] = get_args(Event)


def test_the_union_holds_every_kind_of_event() -> None:
    assert {kind.__name__ for kind in KINDS} | {"Event"} == set(events.__all__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_has_its_time_and_is_frozen(kind: type) -> None:
    assert msgspec.structs.fields(kind)[0].name == "at"
    assert kind.__struct_config__.frozen  # type: ignore[attr-defined]
    assert kind.__struct_config__.tag == kind.__name__  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "event",
    [
        AnswerDelta(1.5, "Tea 🍵"),
        NodePlanned(0.0, "1", "decode", "Tea", ("2", "3"), None),
        NodeFailed(0.5, "1", "skipped", "boom"),
        RunFinished(2.0, "done"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_round_trip_through_json(event: Event) -> None:
    text = msgspec.json.encode(event)
    assert msgspec.json.decode(text, type=Event) == event
