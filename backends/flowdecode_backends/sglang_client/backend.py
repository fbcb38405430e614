"""The backend of `sglang://`: what is known of the server, and what it is sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import anyio
import msgspec

from flowdecode.backend import Load, Request
from flowdecode.context import Context
from flowdecode.errors import BackendError, BackendUnavailable, ConfigurationError, RequestRejected
from flowdecode.plugins import BackendURL, load_grammars
from flowdecode_backends.moments import Pace
from flowdecode_backends.sglang_client.connection import Connection
from flowdecode_backends.sglang_client.facts import Loads, ModelList, ServerInfo
from flowdecode_backends.sglang_client.model import served_model
from flowdecode_backends.sglang_client.reading import UNREADABLE
from flowdecode_backends.sglang_client.served import Served
from flowdecode_backends.sglang_client.stream import SGLangStream
from flowdecode_backends.sglang_client.warming import WORTH_WARMING, Warming

__all__ = ["SGLang", "open_sglang"]

PATIENCE = 60.0
"""Seconds that a server which was there has to come back, if not told otherwise."""
FACTS_KEPT = 60.0
"""Seconds for which a server's facts are not asked for again."""

_log = logging.getLogger("flowdecode")
_facts: dict[str, tuple[float, ServerInfo, int | None]] = {}
_compiled: set[tuple[str, str]] = set()


def forget_servers() -> None:
    """Ask every server anew for its facts, and have it compile grammars again."""
    _facts.clear()
    _compiled.clear()


class SGLang(Served):
    """An SGLang server, or its gateway in front of several. Open it in one event loop at a time."""

    def __init__(
        self,
        url: str,
        *,
        tokenizer: str | None = None,
        warm: int = WORTH_WARMING,
        restart: float = PATIENCE,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`url` such as `http://127.0.0.1:30000`.

        `tokenizer` is a folder or a name on the Hugging Face hub; None is what the server names, and ''
        leaves tokenising to the server. `warm` is from how many shared tokens on siblings wait for the
        first of them (0: never), `restart` the seconds that a server which was there may be gone.
        """
        super().__init__()
        self.url = url.rstrip("/")
        self._asked = tokenizer
        self._worth = warm
        self._patience = restart
        self._headers = dict(headers or {})
        self._users = 0
        self._paces: dict[int, Pace] = {}
        self._opening = anyio.Lock()
        self._compiling: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> SGLang:
        async with self._opening:
            if not self._users:
                await self._open()
            self._users += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._users -= 1
        if not self._users:
            # Another user may open it anew while this waits.
            connection, compiling = self.connection, [*self._compiling]
            for task in compiling:
                _ = task.cancel()
            try:
                await asyncio.gather(*compiling, return_exceptions=True)
            finally:
                await connection.close()

    def decode(self, request: Request) -> SGLangStream:
        return SGLangStream(self, request)

    async def load(self) -> Load | None:
        """The server's load as of its last steps; None where it does not tell, as behind a gateway."""
        try:
            return msgspec.json.decode(await self.connection.get("/v1/loads"), type=Loads).load(self._paces)
        except (BackendError, *UNREADABLE):
            return None

    async def prompt(self, request: Request) -> tuple[int, ...]:
        """The checked ids that a request is decoded from. Raises BackendError."""
        tokens = self.tokens
        prompt = tokens.render(request.context) if tokens else await self._tokenised(request.context)
        return self.check(request, prompt)

    def body(self, request: Request, prompt: Sequence[int]) -> dict[str, Any]:
        """What `/generate` is sent for a request."""
        body: dict[str, Any] = {
            "input_ids": prompt,
            "sampling_params": self.sampling(request, len(prompt)),
            "rid": request.id,
            "stream": True,
            "session_id": request.run_id,
            "routing_key": request.run_id,
        }
        if self.info.honours_priority:
            body["priority"] = self.info.priority(request.priority)
        return body

    def headers(self, request: Request) -> dict[str, str]:
        """The trace context, and what a gateway may route by."""
        return {"x-smg-routing-key": request.run_id, **request.headers}

    async def _open(self) -> None:
        connection = Connection(self.url, self._headers, patience=self._patience, on_loss=self._lost)
        try:
            info, length = await self._ask(connection)
            path = info.tokenizer_path or info.model_path
            model = await asyncio.to_thread(served_model, path, self._asked)
            host = BackendURL.parse(self.url)
            self.describe(info, model, length, address=host.host, port=host.port)
        except BaseException:
            await connection.close()
            raise
        self.connection = connection
        self.warming = Warming(
            worth=0 if info.disable_radix_cache else self._worth,
            page_size=info.page_size,
            capacity=info.max_total_num_tokens,
        )
        _log.info(
            "SGLang %s at %s: %s, %s%s, pages of %d, chunks of %s.",
            info.version or "server",
            self.url,
            info.name,
            info.schedule_policy,
            " with priorities" if info.honours_priority else "",
            info.page_size,
            info.chunked_prefill_size,
        )
        if info.takes_grammar:
            for name, grammar in load_grammars().items():
                if (self.url, name) not in _compiled:
                    self._compile(name, info.constraint(grammar))

    def _lost(self) -> None:
        """The server is gone; it may come back as another one, and its cache is empty."""
        self.warming.forget()
        _ = _facts.pop(self.url, None)
        _compiled.difference_update([known for known in _compiled if known[0] == self.url])

    async def _ask(self, connection: Connection) -> tuple[ServerInfo, int | None]:
        """The server's facts, and its context length where it tells. Raises BackendError."""
        now = asyncio.get_running_loop().time()
        if (known := _facts.get(self.url)) is not None and now - known[0] < FACTS_KEPT:
            return known[1:]
        try:
            info = msgspec.json.decode(
                await connection.first("/server_info", "/get_model_info"), type=ServerInfo
            )
            models = msgspec.json.decode(await connection.first("/v1/models"), type=ModelList)
        except (*UNREADABLE, RequestRejected) as error:
            raise ConfigurationError(
                f"Expected an SGLang server at {self.url}, it answers like something else: {error} "
                "Other servers are reached by `openai://host:port/v1?model=NAME`."
            ) from error
        _facts[self.url] = (now, info, models.context_length)
        return info, models.context_length

    def _compile(self, name: str, constraint: dict[str, str]) -> None:
        """Have the server compile a grammar now, beside all else: the first plan would wait for it."""
        _compiled.add((self.url, name))
        task = asyncio.create_task(self._send_grammar(name, constraint))
        self._compiling.add(task)
        task.add_done_callback(self._compiling.discard)

    async def _send_grammar(self, name: str, constraint: dict[str, str]) -> None:
        body = {"input_ids": [0], "sampling_params": {"max_new_tokens": 1, **constraint}}
        try:
            await self.connection.post("/generate", body)
        except BaseException as error:
            _compiled.discard((self.url, name))
            if not isinstance(error, BackendError):
                raise
            _log.warning("The SGLang server could not compile the grammar %r: %s", name, error)

    async def _tokenised(self, context: Context) -> tuple[int, ...]:
        """The ids of a context by the server's own tokenizer and template. Raises BackendError."""
        messages = context.messages()
        body: dict[str, Any] = {
            "model": self.info.name,
            "messages": messages,
            "continue_final_message": messages[-1]["role"] == "assistant",
            "chat_template_kwargs": dict(context.chat_template_kwargs or {}),
        }
        answer = await self.connection.post("/tokenize", body)
        try:
            return tuple(msgspec.json.decode(answer, type=_Tokenised).tokens)
        except UNREADABLE as error:
            raise BackendUnavailable(
                f"Expected token ids of the SGLang server, got {answer[:200]!r}: {error}"
            ) from None


class _Tokenised(msgspec.Struct):
    tokens: list[int]


class _Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may stand behind `sglang://host:port?`; what is left out is as `SGLang` has it."""

    tokenizer: str | None = None
    warm: int = WORTH_WARMING
    restart: float = PATIENCE


def open_sglang(
    url: BackendURL, *, api_key: str | None, headers: Mapping[str, str], kind: type[SGLang] = SGLang
) -> SGLang:
    """The backend of `sglang://host:port`, or of `sglang+https://host?tokenizer=PATH&warm=64&restart=60`.

    `kind` is a class of one's own. Raises ConfigurationError.
    """
    if not url.has_host or not url.host:
        raise ConfigurationError(
            f"Expected a server, as in 'sglang://127.0.0.1:30000', got '{url.scheme}:{url.location}'."
        )
    try:
        query = msgspec.convert(url.query, type=_Query, strict=False)
    except msgspec.ValidationError as error:
        keys = ", ".join(_Query.__struct_fields__)
        raise ConfigurationError(f"{error} (the query of 'sglang://'). It has: {keys}.") from None
    for name, value in (("warm", query.warm), ("restart", query.restart)):
        if value < 0:
            raise ConfigurationError(f"Expected at least 0, got {value} - at `{name}`.")
    protocol = "https" if url.scheme.endswith("+https") else "http"
    key = {"Authorization": f"Bearer {api_key}"} if api_key is not None else {}
    return kind(
        f"{protocol}://{url.location}",
        tokenizer=query.tokenizer,
        warm=query.warm,
        restart=query.restart,
        headers={**headers, **key},
    )
