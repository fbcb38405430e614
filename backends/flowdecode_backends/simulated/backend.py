"""The simulated backend: engines that batch, cache prefixes and take time, with no model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import get_args

import msgspec

from flowdecode.backend import Delta, Engine, FinishReason, Load, ModelProfile, Request
from flowdecode.context import Context
from flowdecode.errors import ConfigurationError
from flowdecode.plugins import BackendURL
from flowdecode.usage import Usage
from flowdecode_backends import words
from flowdecode_backends.moments import Pace
from flowdecode_backends.replies import (
    ALL_CAPABILITIES,
    Answer,
    Replies,
    Script,
    admit,
    answer,
    failure,
    read_replies,
    strike,
)
from flowdecode_backends.simulated.cost import CostModel
from flowdecode_backends.simulated.engine import BatchingEngine, EngineSettings, Job, Scheduling
from flowdecode_backends.simulated.generated import DEFAULT_MEDIAN_TOKENS, GeneratedReplies
from flowdecode_backends.simulated.profile import Profile
from flowdecode_backends.simulated.router import ROUTERS, RouterName

__all__ = ["Simulated", "SimulatedDecoding", "open_simulated"]


class Simulated:
    """One or more engines with continuous batching and a prefix cache each, behind a router.

    Time is the event loop's: virtual under `simulate()`, else real. What is answered comes from a script
    of replies or a function, else from `GeneratedReplies(seed=seed)`; the delays and paces of a script
    are left out, as the engine has its own.
    """

    def __init__(
        self,
        engines: int = 1,
        *,
        cost: CostModel | None = None,
        slots: int = 256,
        kv_tokens: int = 400_000,
        prefill_chunk: int = 8_192,
        stream_interval: int = 1,
        mixed: bool = True,
        scheduling: Scheduling = "fcfs",
        router: RouterName = "round_robin",
        replies: Replies | None = None,
        seed: int = 0,
        model: str = "simulated",
        context_length: int = 32_768,
        profile: ModelProfile | None = None,
    ) -> None:
        _check(engines=engines, slots=slots, kv_tokens=kv_tokens, prefill_chunk=prefill_chunk)
        _check(stream_interval=stream_interval, context_length=context_length)
        _choose("scheduling", scheduling, get_args(Scheduling))
        _choose("router", router, ROUTERS)
        self.engine = Engine(
            model=model,
            provider="simulated",
            capabilities=msgspec.structs.replace(ALL_CAPABILITIES, priority=scheduling == "priority"),
            context_length=min(context_length, kv_tokens),
            slots=slots * engines,
            profile=profile or ModelProfile(),
        )
        settings = EngineSettings(
            cost=cost or CostModel(),
            slots=slots,
            kv_tokens=kv_tokens,
            prefill_chunk=prefill_chunk,
            stream_interval=stream_interval,
            scheduling=scheduling,
            mixed=mixed,
        )
        self.engines = [BatchingEngine(settings) for _ in range(engines)]
        self.route = ROUTERS[router](self.engines)
        self.script = Script(GeneratedReplies(seed=seed) if replies is None else replies)
        self._paces = [Pace() for _ in self.engines]
        self._users = 0
        self.running = 0
        """Streams that are open now, their requests running or waiting."""
        self.aborted: list[str] = []
        """The ids of the requests whose stream was left before its end."""

    async def __aenter__(self) -> Simulated:
        self._users += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._users -= 1
        if self._users <= 0:
            for engine in self.engines:
                engine.close()

    def decode(self, request: Request) -> SimulatedDecoding:
        return SimulatedDecoding(self, request)

    def count_tokens(self, context: Context) -> int:
        return words.count(context)

    def prompt(self, request: Request) -> tuple[int, ...]:
        """The tokens of a request. Raises BackendError for one that can't be served."""
        return admit(request, self.engine)

    def answer(self, request: Request, prompt_tokens: int) -> Answer:
        """What a request gets. Raises BackendError where the script has it so."""
        reply = self.script.reply(request)
        if reply.fault is not None and reply.fault.refuses:
            raise failure(reply.fault, 0)
        return answer(reply, request, self.engine, prompt_tokens)

    async def load(self) -> Load:
        """Requests over all engines, as of their last steps; slowdown and growth are the slowest one's."""
        told = [
            pace.read(engine.moments, engine.running)
            for pace, engine in zip(self._paces, self.engines, strict=True)
        ]
        slowdown, growth = max((each for each in told if each is not None), default=(None, None))
        return Load(
            running=sum(engine.running for engine in self.engines),
            waiting=sum(engine.passed_over for engine in self.engines),
            slowdown=slowdown,
            growth=growth,
        )


class SimulatedDecoding(AbstractAsyncContextManager["SimulatedDecoding"]):
    """One request to a `Simulated` backend: context manager and stream in one object."""

    def __init__(self, backend: Simulated, request: Request) -> None:
        self.finish_reason: FinishReason | None = None
        self._backend = backend
        self._request = request
        self._count = 0
        self._ended = False

    async def __aenter__(self) -> SimulatedDecoding:
        backend, request = self._backend, self._request
        prompt = backend.prompt(request)
        self._answer = backend.answer(request, len(prompt))
        if backend.engines[0].settings.cost.request:
            await asyncio.sleep(backend.engines[0].settings.cost.request)
        self._job = Job(prompt, self._answer.deltas, request.priority)
        self._engine = backend.route(prompt)
        self._engine.submit(self._job)
        backend.running += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._backend.running -= 1
        if not self._ended:
            self.finish_reason = "abort"
            self._backend.aborted.append(self._request.id)
        if not self._job.done:
            self._engine.leave(self._job)

    @property
    def usage(self) -> Usage:
        job = self._job
        return Usage(prompt_tokens=len(job.prompt), cached_tokens=job.cached, completion_tokens=self._count)

    def __aiter__(self) -> SimulatedDecoding:
        return self

    async def __anext__(self) -> Delta:
        job = self._job
        while self._count == job.produced and not job.done:
            job.waiter = asyncio.get_running_loop().create_future()
            await job.waiter
        if self._count < job.produced:
            self._count += 1
            return job.deltas[self._count - 1]
        fault = self._answer.fault
        self._ended = fault is None or fault.error != "hang"
        if job.error is not None:
            raise job.error
        if fault is not None:
            await strike(fault, self._count)
        self.finish_reason = self._answer.finish_reason
        raise StopAsyncIteration


class _Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may stand behind `simulated:?`; what is left out is as `Simulated` has it."""

    engines: int | msgspec.UnsetType = msgspec.UNSET
    slots: int | msgspec.UnsetType = msgspec.UNSET
    kv_tokens: int | msgspec.UnsetType = msgspec.UNSET
    prefill_chunk: int | msgspec.UnsetType = msgspec.UNSET
    stream_interval: int | msgspec.UnsetType = msgspec.UNSET
    scheduling: str | msgspec.UnsetType = msgspec.UNSET
    router: str | msgspec.UnsetType = msgspec.UNSET
    mixed: bool | msgspec.UnsetType = msgspec.UNSET
    model: str | msgspec.UnsetType = msgspec.UNSET
    context_length: int | msgspec.UnsetType = msgspec.UNSET
    seed: int = 0
    tokens: int = DEFAULT_MEDIAN_TOKENS
    """The median length of an answer."""
    replies: str | None = None
    """A script as in `scripted:FILE`, in place of made-up answers."""
    profile: str | None = None
    """A `Profile` as JSON, or the name of one that comes along; the other keys come before what it says."""


def open_simulated(url: BackendURL, *, api_key: str | None, headers: Mapping[str, str]) -> Simulated:
    """The backend of `simulated:`, or of `simulated:?engines=4&slots=32`. Raises ConfigurationError."""
    if url.location:
        raise ConfigurationError(f"Expected nothing before the query of 'simulated:?', got {url.location!r}.")
    try:
        query = msgspec.convert(url.query, type=_Query, strict=False)
    except msgspec.ValidationError as error:
        keys = ", ".join(_Query.__struct_fields__)
        raise ConfigurationError(f"{error} (the query of 'simulated:?'). It has: {keys}.") from None
    _check(tokens=query.tokens)
    made_up = GeneratedReplies(seed=query.seed, median_tokens=query.tokens)
    replies = read_replies(query.replies) if query.replies else made_up
    profile = Profile.read(query.profile).settings if query.profile else {}
    ours = {"seed", "tokens", "replies", "profile"}
    settings = {key: value for key, value in msgspec.to_builtins(query).items() if key not in ours}
    return Simulated(**{**profile, **settings}, replies=replies)


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ConfigurationError(f"Expected at least 1, got {number} - at `{name}`.")


def _choose(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ConfigurationError(f"Expected one of {', '.join(known)}, got {value!r} - at `{name}`.")
