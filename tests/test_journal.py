"""The event log: cursors, lag and back-pressure."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Literal
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode import journal as journal_module
from flowdecode.events import AnswerDelta, Event
from flowdecode.journal import MAX_LAG, Cursor, Journal

pytestmark = pytest.mark.anyio

SMALL_LAG = 4


def event(number: int = 0) -> AnswerDelta:
    return AnswerDelta(float(number), str(number))


def filled(count: int) -> Journal:
    journal = Journal()
    for number in range(count):
        journal.append(event(number))
    return journal


def congested(journal: Journal) -> bool:
    return journal.congested


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(5):
        await asyncio.sleep(0)


async def read(cursor: Cursor, count: int) -> list[Event]:
    return [await anext(cursor) for _ in range(count)]


async def test_a_cursor_sees_all_events_from_the_first_one() -> None:
    journal = filled(2)
    cursor = journal.cursor()
    journal.append(event(2))
    journal.close()
    assert [seen async for seen in cursor] == journal.events == [event(0), event(1), event(2)]
    assert [seen async for seen in cursor] == []
    assert [seen async for seen in journal.cursor()] == journal.events


async def test_a_reader_waits_for_the_next_event_and_for_the_end() -> None:
    journal, seen = Journal(), list[Event]()

    async def follow() -> None:
        async for each in journal.cursor():
            seen.append(each)

    reader = asyncio.create_task(follow())
    for number in range(3):
        await settle()
        assert len(seen) == number
        journal.append(event(number))
    await settle()
    assert not reader.done()
    journal.close()
    await reader
    assert seen == journal.events


async def test_readers_do_not_disturb_each_other() -> None:
    journal = filled(10)
    slow, fast = journal.cursor(), journal.cursor()
    assert await read(fast, 10) == journal.events
    assert await read(slow, 3) == journal.events[:3]
    waiting = [asyncio.create_task(anext(fast)) for _ in range(2)]
    await settle()
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    journal.append(event(10))
    assert await waiting[1] == event(10)
    assert await read(slow, 8) == journal.events[3:]


async def test_nothing_is_held_back_without_a_cursor() -> None:
    journal = filled(5 * MAX_LAG)
    assert not congested(journal)
    await journal.drained()


async def test_a_lagging_cursor_holds_back_until_it_has_caught_up_by_half() -> None:
    journal = filled(MAX_LAG - 1)
    cursor = journal.cursor()
    assert not congested(journal)
    journal.append(event())
    assert congested(journal)
    producer = asyncio.create_task(journal.drained())
    await settle()
    await read(cursor, MAX_LAG // 2 - 1)
    await settle()
    assert not producer.done()
    await read(cursor, 1)
    await producer
    assert not congested(journal)


async def test_a_new_cursor_holds_back_at_once() -> None:
    journal = filled(3 * MAX_LAG)
    assert not congested(journal)
    cursor = journal.cursor()
    assert congested(journal)
    await read(cursor, 3 * MAX_LAG)
    assert not congested(journal)


async def test_the_slowest_cursor_counts() -> None:
    journal = filled(MAX_LAG)
    slow, fast = journal.cursor(), journal.cursor()
    await read(fast, MAX_LAG)
    assert congested(journal)
    producer = asyncio.create_task(journal.drained())
    await settle()
    await read(slow, 1)
    await read(slow, MAX_LAG // 2)
    await producer


async def test_a_dropped_cursor_counts_no_more() -> None:
    journal = filled(MAX_LAG)
    cursor = journal.cursor()
    producer = asyncio.create_task(journal.drained())
    await settle()
    assert not producer.done()
    del cursor
    gc.collect()
    await producer


async def test_breaking_out_of_a_loop_detaches() -> None:
    journal = filled(MAX_LAG)
    async for _ in journal.cursor():
        break
    gc.collect()
    assert not congested(journal)


async def test_a_cancelled_reader_detaches() -> None:
    journal = Journal()

    async def follow() -> None:
        async for _ in journal.cursor():
            await asyncio.Event().wait()

    journal.append(event())
    reader = asyncio.create_task(follow())
    await settle()
    for _ in range(MAX_LAG):
        journal.append(event())
    assert congested(journal)
    producer = asyncio.create_task(journal.drained())
    await settle()
    reader.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reader
    del reader
    gc.collect()
    await producer


async def test_who_waits_for_the_end_holds_nothing_back() -> None:
    journal = filled(MAX_LAG)
    cursor = journal.cursor()
    producer = asyncio.create_task(journal.drained())
    await settle()
    journal.unbind()
    await producer
    for _ in range(MAX_LAG):
        journal.append(event())
    assert not congested(journal)
    assert await anext(cursor) == event()


async def test_nobody_waits_for_a_reader_at_the_end() -> None:
    journal = filled(MAX_LAG)
    cursor = journal.cursor()
    journal.close()
    await journal.drained()
    assert len([each async for each in cursor]) == MAX_LAG


async def test_a_cancelled_producer_leaves_the_others_waiting() -> None:
    journal = filled(MAX_LAG)
    cursor = journal.cursor()
    producers = [asyncio.create_task(journal.drained()) for _ in range(3)]
    await settle()
    producers[1].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await producers[1]
    await settle()
    assert not producers[0].done()
    await read(cursor, MAX_LAG)
    await asyncio.gather(producers[0], producers[2])


def step(cursor: Cursor, journal: Journal) -> None:
    """Read one event, if there is one, without a loop."""
    if cursor.position < len(journal.events):
        with contextlib.suppress(StopIteration):
            cursor.__anext__().send(None)


Move = tuple[Literal["append", "read", "open", "drop"], int]
moves = st.lists(
    st.tuples(st.sampled_from(["append", "append", "read", "open", "drop"]), st.integers(0, 9)), max_size=60
)


@given(moves)
def test_congestion_is_a_live_cursor_that_lags(moves: list[Move]) -> None:
    """Whatever is remembered between two looks, the answer is that of a look at every cursor."""
    with patch.object(journal_module, "MAX_LAG", SMALL_LAG):
        journal = Journal()
        cursors: list[Cursor] = []
        for move, number in moves:
            match move:
                case "append":
                    journal.append(event(number))
                case "open":
                    cursors.append(journal.cursor())
                case "read" if cursors:
                    step(cursors[number % len(cursors)], journal)
                case "drop" if cursors:
                    del cursors[number % len(cursors)]
                case _:
                    pass
            lags = [len(journal.events) - each.position for each in cursors]
            assert congested(journal) == any(lag >= SMALL_LAG for lag in lags)


@given(st.lists(st.integers(0, 3), max_size=40))
def test_every_reader_sees_every_event_once_and_in_order(steps: list[int]) -> None:
    """Two readers and a producer that minds them, in any order of their turns."""

    async def play() -> None:
        with patch.object(journal_module, "MAX_LAG", SMALL_LAG):
            journal = Journal()
            gates = [asyncio.Semaphore(0) for _ in range(3)]
            seen: list[list[Event]] = [[], []]

            async def produce() -> None:
                for number in range(20):
                    await gates[0].acquire()
                    await journal.drained()
                    journal.append(event(number))
                journal.close()

            async def follow(index: int) -> None:
                async for each in journal.cursor():
                    await gates[index + 1].acquire()
                    seen[index].append(each)

            tasks = [asyncio.create_task(each) for each in (produce(), follow(0), follow(1))]
            for step in steps:
                if step < 3:
                    gates[step].release()
                else:
                    await asyncio.sleep(0)
            for gate in gates:
                for _ in range(20):
                    gate.release()
            await asyncio.gather(*tasks)
            assert seen == [journal.events, journal.events]

    asyncio.run(play())
