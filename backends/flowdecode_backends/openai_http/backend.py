"""The backend `openai://`: chat completions over HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import urlsplit

import anyio
import msgspec
from openai import (
    DEFAULT_CONNECTION_LIMITS,
    APIConnectionError,
    APIStatusError,
    AsyncOpenAI,
    DefaultAioHttpClient,
    DefaultAsyncHttpxClient,
    Omit,
    Timeout,
)

from flowdecode.backend import Capabilities, Engine, Load, Request
from flowdecode.context import Context
from flowdecode.errors import BackendUnavailable, ConfigurationError, FlowdecodeError
from flowdecode.plugins import BackendURL
from flowdecode_backends import words
from flowdecode_backends.openai_http.dialect import DIALECTS, Dialect, DialectName
from flowdecode_backends.openai_http.failures import message_of
from flowdecode_backends.openai_http.stream import ChatStream, unreachable

__all__ = ["OpenAIHTTP", "read_url"]

CONNECT_TIMEOUT = 10.0
DEFAULT_TIMEOUT = 600.0
"""Seconds of silence after which an engine is given up, if not told otherwise."""
OPENAI = "api.openai.com"
UNLIMITED = 1 << 20
"""Connections: the queue is ours. (None would mean 100 to aiohttp.)"""
KEEP_ALIVE = 4.0
"""Seconds that a connection is kept without a request: servers on uvicorn (SGLang, vLLM) close it after 5."""
PROBE_RETRIES = 2
"""How often the first question to an engine is asked again; a decode is retried by the runtime."""

E = TypeVar("E", bound=FlowdecodeError)


class _Card(msgspec.Struct):
    """A model in `/models`."""

    id: str
    owned_by: str | None = None
    max_model_len: int | None = None


class _Cards(msgspec.Struct):
    data: list[_Card] = []


class OpenAIHTTP:
    """An engine that serves OpenAI's chat completions API.

    Which engine it is, it is asked when connected (`GET /models`), unless `engine` says it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        engine: DialectName | None = None,
        prefill: bool | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        """`prefill`: whether it goes on with an assistant's message; `timeout` in seconds of silence."""
        parts = urlsplit(base_url)
        self.address = parts.netloc
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if self._secure else 80)
        self._base_url = base_url
        self._model = model
        self._api_key = api_key
        self._headers = dict(headers or {})
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._without: dict[str, Any] = {}
        """Headers that the client would fill from the environment."""
        if self._host != OPENAI:
            self._without |= {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
        if "authorization" not in map(str.lower, self._headers):
            self._without["Authorization"] = Omit()
        self._engine_name: DialectName | None = engine or ("openai" if self._host == OPENAI else None)
        self._prefill = prefill
        self._timeout = timeout
        self._users = 0
        self._opening = anyio.Lock()
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise ConfigurationError("Expected a backend that was entered. Use `async with`, or a Flow.")
        return self._engine

    async def __aenter__(self) -> OpenAIHTTP:
        async with self._opening:
            if self._users == 0:
                self._client = self._connected()
                try:
                    await self._learn()
                except BaseException:
                    await self._client.close()
                    raise
            self._users += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._users -= 1
        if self._users == 0:
            await self._client.close()

    def decode(self, request: Request) -> ChatStream:
        return ChatStream(self, request)

    def count_tokens(self, context: Context) -> int:
        """An estimate: words and punctuation marks."""
        return words.count(context)

    async def load(self) -> Load | None:
        """None: the API does not tell."""
        return None

    def open(self, body: dict[str, Any]) -> Any:
        """A chat completion as a stream of bytes, to be entered."""
        completions = cast(Any, self._client.chat.completions)
        headers = {**self._without, **body.pop("extra_headers", {})}
        return completions.with_streaming_response.create(**body, extra_headers=headers)

    def safe(self, error: E) -> E:
        """The same error, without the key that some engines quote."""
        if self._api_key:
            error.args = tuple(str(arg).replace(self._api_key, "***") for arg in error.args)
        return error

    def tells_cached_tokens(self) -> None:
        """The engine has told how many tokens it found in its cache: some are only set up for it."""
        if not self.engine.capabilities.cached_tokens:
            able = msgspec.structs.replace(self.engine.capabilities, cached_tokens=True)
            self._engine = msgspec.structs.replace(self.engine, capabilities=able)

    def _connected(self) -> AsyncOpenAI:
        """The official client, for which no variable of the environment speaks in our place."""
        limits = type(DEFAULT_CONNECTION_LIMITS)(max_connections=UNLIMITED, keepalive_expiry=KEEP_ALIVE)
        timeout = Timeout(self._timeout, connect=CONNECT_TIMEOUT, pool=None)
        return AsyncOpenAI(
            api_key=self._api_key or "none",
            base_url=self._base_url,
            default_headers={**self._without, **self._headers},  # those of a request it logs
            timeout=timeout,
            max_retries=0,
            http_client=_http_client(
                limits=limits,
                timeout=timeout,
                follow_redirects=False,  # a redirect would take headers with a key along
                trust_env=self._secure,  # and a proxy would read what is not encrypted
            ),
        )

    async def _learn(self) -> None:
        """Learn which engine and which model this is. Raises BackendUnavailable or ConfigurationError."""
        cards = [] if self._engine_name is not None and self._model is not None else await self._cards()
        if self._model is None and len(cards) != 1:
            served = ", ".join(card.id for card in cards[:8]) or "it does not tell"
            raise ConfigurationError(
                f"Expected a model's name, got none. Pass `?model=NAME`; {self.address} has: {served}."
            )
        model = self._model or cards[0].id
        card = next((card for card in cards if card.id == model), cards[0] if len(cards) == 1 else None)
        self.dialect = self._dialect(card)
        self._engine = Engine(
            model=model,
            provider=self.dialect.provider,
            capabilities=Capabilities(assistant_prefill=self.dialect.prefill),
            context_length=card.max_model_len if card is not None else None,
            address=self._host,
            port=self._port,
        )

    def _dialect(self, card: _Card | None) -> Dialect:
        owner = card.owned_by if card is not None else None
        name: DialectName = "sglang" if owner == "sglang" else "vllm" if owner == "vllm" else "other"
        dialect = DIALECTS[self._engine_name or name]
        if self._prefill is not None:
            dialect = msgspec.structs.replace(dialect, prefill=self._prefill)
        return dialect

    async def _cards(self) -> list[_Card]:
        """The models that the engine has; none where it does not tell."""
        client = self._client.with_options(max_retries=PROBE_RETRIES)
        try:
            answer = await client.models.with_raw_response.list(extra_headers=self._without)
            return msgspec.json.decode(answer.content, type=_Cards).data
        except APIStatusError as error:
            said = f"HTTP {error.status_code}: {message_of(error.body or error.response.text)}"
            if error.status_code in (401, 403):
                raise self.safe(ConfigurationError(f"Expected the right `api_key`, got {said}")) from None
            if error.status_code == 429 or error.status_code >= 500:
                raise self.safe(BackendUnavailable(f"Expected the list of models, got {said}")) from None
            return []
        except APIConnectionError as error:
            raise unreachable(error, self.address) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return []


def _http_client(**settings: Any) -> DefaultAsyncHttpxClient:
    """The client's transport: over aiohttp where it can, at half the work per chunk."""
    try:
        return DefaultAioHttpClient(**settings)
    except RuntimeError:  # this version of the client wants more than aiohttp for it
        return DefaultAsyncHttpxClient(**settings)


class _Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may stand behind `openai://HOST/v1?`."""

    model: str | None = None
    engine: DialectName | None = None
    prefill: bool | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0)] = DEFAULT_TIMEOUT
    api_key_env: str | None = None


def read_url(url: BackendURL, *, api_key: str | None, headers: Mapping[str, str]) -> OpenAIHTTP:
    """The backend that a URL names, not yet connected. Raises ConfigurationError."""
    if not url.host:
        raise ConfigurationError(
            f"Expected a host, as in '{url.scheme}://127.0.0.1:8000/v1?model=NAME', got none."
        )
    try:
        query = msgspec.convert(url.query, type=_Query, strict=False)
    except msgspec.ValidationError as error:
        keys = ", ".join(_Query.__struct_fields__)
        raise ConfigurationError(f"{error} (the query of '{url.scheme}://'). It has: {keys}.") from None
    secure = url.scheme.endswith("+https")
    location = url.location.rstrip("/")
    return OpenAIHTTP(
        f"{'https' if secure else 'http'}://{location if '/' in location else f'{location}/v1'}",
        model=query.model,
        api_key=api_key if api_key is not None else _key_of_environment(url, query.api_key_env),
        headers=headers,
        engine=query.engine,
        prefill=query.prefill,
        timeout=query.timeout,
    )


def _key_of_environment(url: BackendURL, variable: str | None) -> str | None:
    """The key in the variable that the URL names; OPENAI_API_KEY is OpenAI's alone."""
    if variable is None:
        return os.environ.get("OPENAI_API_KEY") if url.keeps_secrets and url.host == OPENAI else None
    if not url.keeps_secrets:
        raise ConfigurationError(
            f"Expected an encrypted connection for the key in {variable}. Use 'openai+https://'."
        )
    key = os.environ.get(variable)
    if not key:
        raise ConfigurationError(f"Expected an API key in the variable {variable}, it is not set.")
    return key
