"""Virtual time: jumps, files, threads, deadlocks, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import math
import random
import socket
import threading
import time

import anyio
import anyio.to_thread
import pytest

from flowdecode_backends.simulated import DeadlockError, SimulatedLoop, simulate


def now() -> float:
    return asyncio.get_running_loop().time()


def test_time_starts_at_zero_and_costs_none() -> None:
    async def program() -> list[float]:
        times = [now()]
        for delay in 0.5, 3600, 1e9:
            await asyncio.sleep(delay)
            times.append(now())
        return times

    real = time.monotonic()
    assert simulate(program()) == [0, 0.5, 3600.5, 1_000_003_600.5]
    assert time.monotonic() - real < 5


@pytest.mark.parametrize("debug", [False, True])
def test_timers_run_in_order_and_at_their_time(debug: bool) -> None:
    async def program() -> list[tuple[float, int]]:
        seen: list[tuple[float, int]] = []

        async def sleeper(number: int) -> None:
            for _ in range(50):
                await asyncio.sleep(0.1 * number)
                seen.append((now(), number))

        await asyncio.gather(*map(sleeper, range(1, 8)))
        return seen

    seen = simulate(program(), debug=debug)
    assert seen == simulate(program())
    assert seen == sorted(seen, key=lambda entry: entry[0])
    assert [at for at, number in seen if number == 7] == pytest.approx([0.7 * k for k in range(1, 51)])


def test_a_timer_is_never_early() -> None:
    async def program() -> None:
        await asyncio.sleep(1e6)
        for number in range(1, 2000):
            due = now() + number * 1e-7
            await asyncio.sleep(due - now())
            assert now() == pytest.approx(due, abs=1e-9)

    simulate(program())


def test_anyio_works() -> None:
    async def program() -> tuple[float, bool]:
        with anyio.move_on_after(2) as scope:
            await anyio.sleep_forever()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 3)
        return anyio.current_time(), scope.cancelled_caught

    assert simulate(program()) == (5, True)


def test_the_loop_serves_anyio_s_own_runner() -> None:
    async def program() -> float:
        await anyio.sleep(3600)
        return anyio.current_time()

    options = {"loop_factory": SimulatedLoop}
    assert anyio.run(program, backend="asyncio", backend_options=options) == 3600


def test_results_and_errors_come_through() -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise KeyError("x")

    assert simulate(asyncio.sleep(1, result="done")) == "done"
    with pytest.raises(KeyError):
        simulate(fail())


def test_nothing_is_left_behind() -> None:
    cancelled: list[float] = []

    async def background() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            cancelled.append(now())

    async def program() -> asyncio.AbstractEventLoop:
        tasks = [asyncio.create_task(background()) for _ in range(3)]
        await asyncio.sleep(1)
        assert len(tasks) == 3
        return asyncio.get_running_loop()

    loop = simulate(program())
    assert cancelled == [1, 1, 1]
    assert loop.is_closed()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    gc.collect()  # warnings about what was not closed are errors here


@pytest.mark.anyio
async def test_a_running_loop_is_refused() -> None:
    with pytest.raises(RuntimeError, match="running event loop"):
        simulate(asyncio.sleep(1))


# Deadlocks


@pytest.mark.parametrize("debug", [False, True])
def test_a_deadlock_is_an_error_that_names_the_tasks(debug: bool) -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    async def program() -> None:
        await asyncio.sleep(2)
        await asyncio.gather(asyncio.create_task(stuck(), name="reader"), asyncio.sleep(math.inf))

    with pytest.raises(DeadlockError, match=r"at 2 s of virtual time.*reader \(.*test_simulate_clock"):
        simulate(program(), debug=debug)


def test_many_tasks_in_a_deadlock_are_not_all_listed() -> None:
    async def program() -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(100)))

    with pytest.raises(DeadlockError, match=r"\.\.\.") as caught:
        simulate(program())
    assert len(str(caught.value)) < 2000


# The outside world


def test_sockets_work() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def program() -> bytes:
        server = await asyncio.start_server(echo, "127.0.0.1")
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"tea\n")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
        return line

    assert simulate(program()) == b"tea\n"


def test_a_file_is_waited_for_in_real_time() -> None:
    async def program() -> bytes:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            thread = threading.Timer(0.05, theirs.send, [b"x"])
            thread.start()
            return await asyncio.get_running_loop().sock_recv(ours, 1)

    assert simulate(program()) == b"x"


def test_threads_wake_the_loop() -> None:
    async def program() -> int:
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        threading.Timer(0.05, loop.call_soon_threadsafe, [woken.set]).start()
        await woken.wait()
        return await anyio.to_thread.run_sync(lambda: 3)

    assert simulate(program()) == 3


def test_time_stands_still_for_an_executor() -> None:
    async def program() -> tuple[str, float]:
        gate = threading.Event()
        async with asyncio.timeout(1):
            threading.Timer(0.05, gate.set).start()
            await asyncio.get_running_loop().run_in_executor(None, gate.wait)
        return "in time", now()

    assert simulate(program()) == ("in time", 0)


def test_chance_is_the_same_in_every_simulation_and_untouched_outside() -> None:
    async def draw() -> float:
        return random.random()

    before = random.getstate()
    assert simulate(draw()) == simulate(draw())
    assert random.getstate() == before
