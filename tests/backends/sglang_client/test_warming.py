"""Warming: who waits for whom, and who does not."""

from __future__ import annotations

import asyncio

import pytest

from flowdecode_backends.sglang_client import warming
from flowdecode_backends.sglang_client.warming import Leader, Warming

pytestmark = pytest.mark.anyio

SHARED = tuple(range(100))


def siblings(count: int) -> list[tuple[int, ...]]:
    return [(*SHARED, 1000 + number, 7) for number in range(count)]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def turns(room: Warming, prompts: list[tuple[int, ...]]) -> list[asyncio.Task[Leader | None]]:
    return [asyncio.create_task(room.turn(prompt)) for prompt in prompts]


async def test_cold_siblings_wait_for_the_first() -> None:
    room = Warming(worth=64)
    first, *others = turns(room, siblings(4))
    await settle()
    assert first.done()
    assert not any(other.done() for other in others)
    room.through(first.result(), prefilled=True)
    assert await asyncio.gather(*others) == [None, None, None], (
        "what is left is shorter than worth waiting for"
    )
    assert room.held == 3


async def test_a_failed_leader_lets_the_next_one_lead() -> None:
    room = Warming(worth=64)
    first, second, third = turns(room, siblings(3))
    await settle()
    room.through(first.result(), prefilled=False)
    leader = await second
    await settle()
    assert leader is not None
    assert not third.done()
    room.through(leader, prefilled=True)
    assert await third is None


async def test_nobody_waits_for_a_prefix_that_is_there() -> None:
    room = Warming(worth=64)
    room.cached(SHARED)
    assert [await room.turn(prompt) for prompt in siblings(3)] == [None, None, None]
    assert room.held == 0


@pytest.mark.parametrize(("shared", "worth"), [(63, 64), (99, 0)])
async def test_nobody_waits_for_less_than_it_is_worth(shared: int, worth: int) -> None:
    room = Warming(worth=worth)
    prompts = [(*SHARED[:shared], *range(1000 * number, 1000 * number + 100)) for number in range(1, 4)]
    for turn in turns(room, prompts):
        await turn
    assert room.held == 0


async def test_only_whole_pages_count() -> None:
    room = Warming(worth=64, page_size=64)
    room.cached(SHARED)  # of which one page is kept
    prompts = [(*range(128), number) for number in (1000, 2000)]
    first, second = turns(room, prompts)
    await settle()
    assert (first.done(), second.done()) == (True, False)
    room.through(first.result(), prefilled=True)
    assert await second is None


async def test_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "LONGEST_HOLD", 0.05)
    room = Warming(worth=64)
    first, second = siblings(2)
    assert await room.turn(first) is not None
    assert await room.turn(second) is not None, "the first one may be in a long queue"


async def test_a_server_that_was_restarted_is_cold() -> None:
    room = Warming(worth=64)
    room.cached(SHARED)
    room.forget()
    first, second = turns(room, siblings(2))
    await settle()
    assert (first.done(), second.done()) == (True, False)
    room.through(first.result(), prefilled=True)
    await second


async def test_no_more_is_remembered_than_the_server_holds() -> None:
    room = Warming(worth=64, capacity=110)
    room.cached(SHARED)
    room.cached(tuple(range(500, 600)))
    first, second = turns(room, [(*range(500, 600), 1), (*range(500, 600), 2)])
    assert [await first, await second] == [None, None]
    first, second = turns(room, siblings(2))
    await settle()
    assert not second.done(), "the first ones were dropped"
    room.through(first.result(), prefilled=True)
    await second
