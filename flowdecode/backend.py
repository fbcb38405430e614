"""The contract between the runtime and an engine: where tokens come from."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self, runtime_checkable

import msgspec

from flowdecode.context import Context
from flowdecode.errors import ConfigurationError
from flowdecode.sampling import SamplingParams
from flowdecode.usage import Usage

__all__ = [
    "Backend",
    "Capabilities",
    "Decoding",
    "Delta",
    "Engine",
    "FinishReason",
    "Grammar",
    "Interleaving",
    "Load",
    "ModelProfile",
    "Piece",
    "Request",
    "SharedKV",
    "Steer",
    "Strand",
]

FinishReason = Literal["stop", "length", "abort"]


class Grammar(msgspec.Struct, frozen=True):
    """One language, written twice, for engines that constrain decoding by either form."""

    ebnf: str
    regex: str


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine honours; what it does not is left out of its requests."""

    token_ids: bool = False
    """Deltas carry token ids, and a block's ids are decoded from as they are."""
    assistant_prefill: bool = False
    """A context that ends with an assistant block is continued, by its ids where these are known."""
    grammar: bool = False
    priority: bool = False
    cached_tokens: bool = False
    """Usage tells how many prompt tokens came from the prefix cache."""
    shared_kv: bool = False
    """Threads of one request share one KV cache: fork and join copy nothing. The backend is a `SharedKV`."""


class ModelProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's own `flowdecode.json`, beside its weights."""

    prompts: dict[str, Any] = {}
    """A prompt pack: fields of `flowdecode_graphs.prompts.Prompts` that replace the standard ones."""
    strategies: tuple[str, ...] = ()
    """The strategies that the model was trained for, best first."""
    tags: dict[str, int] = {}
    """Token ids of PASTA-LANG's tags, and of the attributes of a promise that are tokens made for them."""
    shared_kv: bool = True
    """Whether it was trained for PASTA's threads over one KV cache; else each is a request of its own."""

    @classmethod
    def read(cls, folder: Path) -> ModelProfile:
        """That of a model's folder; an empty one where there is none. Raises ConfigurationError."""
        path = folder / "flowdecode.json"
        if not path.is_file():
            return cls()
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ConfigurationError(f"{path}: {error}") from None


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a connected engine."""

    model: str
    provider: str
    """The value of `gen_ai.provider.name`, such as `sglang`."""
    capabilities: Capabilities = Capabilities()
    context_length: int | None = None
    """The longest prompt and answer together, in tokens."""
    slots: int | None = None
    """Requests that its batch holds: more would only wait in the engine's queue instead of ours."""
    address: str | None = None
    port: int | None = None
    profile: ModelProfile = ModelProfile()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One decode, as an engine sees it."""

    id: str
    """Unique, and no prefix of another request's id."""
    run_id: str
    context: Context
    sampling: SamplingParams
    """`max_tokens` bounds this request; None: up to the model's context length. What can't be honoured
    of the rest is refused (RequestRejected), not left out."""
    grammar: Grammar | None = None
    priority: int = 0
    """The longest remaining path from here in tokens: higher goes first."""
    headers: Mapping[str, str] = {}
    """Trace context (`traceparent`) for engines that are reached over HTTP."""


class Delta(msgspec.Struct, frozen=True):
    """What one step of decoding added; `text` may lag behind `tokens` where a character spans several."""

    text: str
    tokens: tuple[int, ...] = ()


class Decoding(Protocol):
    """A stream of deltas; `usage` is what is known so far, and final when the stream has ended."""

    @property
    def usage(self) -> Usage: ...

    @property
    def finish_reason(self) -> FinishReason | None:
        """None until the stream has ended."""
        ...

    def __aiter__(self) -> AsyncIterator[Delta]: ...


class Load(msgspec.Struct, frozen=True):
    """Requests in an engine's batch, and in its queue."""

    running: int
    waiting: int
    slowdown: float | None = None
    """What a decoding step takes now, as a multiple of a step for one request, where the engine tells."""
    growth: float | None = None
    """What one request more adds to a step, in the same measure."""

    def room(self, slower: float) -> int | None:
        """Requests more, at least one, that leave a step at most `slower` times as long as it is now.

        None where nobody else would feel it, or the engine does not tell.
        """
        if not self.running or self.slowdown is None or not self.growth or slower == math.inf:
            return None
        return max(1, int((slower - 1) * self.slowdown / self.growth))


class Backend(Protocol):
    """An engine adapter: two methods do the work, the rest tells what the engine is.

    A backend may be used from any task of the event loop that entered it. It may be entered again
    while it is open, by another run that was given it: what it holds is let go at the last exit.
    """

    @property
    def engine(self) -> Engine:
        """What the engine is; known once the backend has been entered."""
        ...

    async def __aenter__(self) -> Backend:
        """Connect; raises BackendUnavailable or ConfigurationError."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def decode(self, request: Request) -> AbstractAsyncContextManager[Decoding]:
        """Decode `request`; leaving the context early aborts it in the engine. Raises BackendError."""
        ...

    def count_tokens(self, context: Context) -> int:
        """The tokens of `context`, without the glue that lets the assistant speak behind it.

        They are a prefix of the tokens of every extension of it; an estimate where there is no tokenizer.
        """
        ...

    async def load(self) -> Load | None:
        """The engine's load now; None where it does not tell."""
        ...


class Piece(NamedTuple):
    """What one step added to a strand of an interleaved request."""

    strand: int
    """0 is the main one, the others count in the order of their forks."""
    delta: Delta
    finish_reason: FinishReason | None = None
    """Set in the strand's last piece."""
    decoded: int = 0
    """Tokens that the strand has decoded so far."""


class Strand(Protocol):
    """One line of decoding among several that share their KV; to be used by its `Steer` alone."""

    @property
    def id(self) -> int: ...

    @property
    def tokens(self) -> Sequence[int]:
        """What it has decoded."""
        ...

    @property
    def delta(self) -> Delta:
        """What its last token added to its text."""
        ...

    @property
    def finish_reason(self) -> FinishReason | None: ...

    def fork(
        self,
        tokens: Sequence[int],
        *,
        steer: Callable[[Self, int], None] | None = None,
        max_tokens: int | None = None,
    ) -> Self:
        """A strand that goes on with `tokens` behind what this one has said, at its position."""
        ...

    def skip(self, positions: int) -> None:
        """Leave the next positions to a fork."""
        ...

    def join(self, *others: Self) -> None:
        """Wait until `others` have ended, then see what they said; not at the token of a fork."""
        ...

    def end(self) -> None:
        """Decode nothing more."""
        ...


Steer = Callable[[Strand, int], None]
"""Called behind each token that a strand has decoded and that does not end it: quick, and never blocking.

It may be called in a thread of the engine's own.
"""


class Interleaving(Protocol):
    """A stream of the pieces of several strands."""

    @property
    def usage(self) -> Usage: ...

    @property
    def finish_reason(self) -> FinishReason | None:
        """The main strand's; None until the stream has ended."""
        ...

    def __aiter__(self) -> AsyncIterator[Piece]: ...


@runtime_checkable
class SharedKV(Protocol):
    """A backend with the capability `shared_kv`."""

    def interleave(self, request: Request, steer: Steer) -> AbstractAsyncContextManager[Interleaving]:
        """Decode `request` as the main strand, which `steer` may fork from and join to.

        Leaving the context early ends all strands. Raises BackendError.
        """
        ...
