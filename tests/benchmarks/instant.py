"""An engine that answers at once with one token: what is left is the runtime's own cost."""

from __future__ import annotations

from types import TracebackType

from flowdecode.backend import Delta, Engine, FinishReason, Load, Request
from flowdecode.context import Context
from flowdecode.usage import Usage

__all__ = ["Instant"]

_DELTA = Delta("x")
_USAGE = Usage(prompt_tokens=1, completion_tokens=1)


class Instant:
    """A backend without an engine; nothing in it waits."""

    engine = Engine(model="instant", provider="instant")

    async def __aenter__(self) -> Instant:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def decode(self, request: Request) -> _One:
        return _One()

    def count_tokens(self, context: Context) -> int:
        return 1

    async def load(self) -> Load | None:
        return None


class _One:
    usage = Usage()
    finish_reason: FinishReason | None = None

    async def __aenter__(self) -> _One:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def __aiter__(self) -> _One:
        return self

    async def __anext__(self) -> Delta:
        if self.finish_reason is not None:
            raise StopAsyncIteration
        self.finish_reason, self.usage = "stop", _USAGE
        return _DELTA
