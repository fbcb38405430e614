"""HTTP to one SGLang server or gateway: one session, errors mapped, a server that restarts waited for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import msgspec

from flowdecode.errors import BackendError, BackendUnavailable, ConfigurationError, RequestRejected
from flowdecode_backends.openai_http.failures import retry_after
from flowdecode_backends.sglang_client.reading import failure

__all__ = ["LOST", "Connection"]

CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 30.0
"""Seconds for the small requests; streams have no limit of their own."""
PROBE_PAUSE = 0.5
"""Seconds between two looks at a server that is gone."""
KEEP_ALIVE = 4.0
"""Seconds that a connection is kept without a request; the server closes it after 5, and a request that
meets that moment is lost."""

_log = logging.getLogger("flowdecode")
_encoder = msgspec.json.Encoder()
_JSON = {"Content-Type": "application/json"}
LOST = (aiohttp.ClientError, ConnectionError, TimeoutError)
"""What a connection fails with."""


class Connection:
    """An aiohttp session without a limit of its own: the queue of requests is the runtime's."""

    def __init__(
        self,
        base: str,
        headers: Mapping[str, str],
        *,
        patience: float,
        on_loss: Callable[[], object] = lambda: None,
    ) -> None:
        """`patience`: seconds that a server which was there may be gone; `on_loss`: called when it goes."""
        self.base = base
        self.on_loss = on_loss
        self._patience = patience
        self._seen = False
        self._lost_at: float | None = None
        self._can_abort = True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            headers=headers,
        )

    async def close(self) -> None:
        await self._session.close()

    async def get(self, path: str) -> bytes:
        """Raises BackendError."""
        return await self._answer("GET", path, None)

    async def post(self, path: str, body: object) -> bytes:
        """Raises BackendError."""
        return await self._answer("POST", path, body)

    async def first(self, *paths: str) -> bytes:
        """The answer of the first of `paths` that the server knows. Raises BackendError."""
        for path in paths[:-1]:
            try:
                return await self.get(path)
            except RequestRejected:
                continue
        return await self.get(paths[-1])

    async def stream(
        self, path: str, body: dict[str, Any], headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """An answer under way; the caller closes it. Raises BackendError."""
        data = _encoded(body)
        response = None
        while response is None:
            try:
                response = await self._session.post(self.base + path, data=data, headers={**_JSON, **headers})
            except aiohttp.ClientConnectorError as error:
                if not self._seen:
                    raise self.unreachable(error) from error
                await self._restarted(error)
            except LOST as error:
                raise self.unreachable(error) from error
        if response.status != 200:
            async with response:
                raise await _refusal(response)
        self._seen, self._lost_at = True, None
        return response

    async def abort(self, rid: str) -> None:
        """End a request; a gateway knows no such call, and ends it when its stream is closed."""
        if not self._can_abort:
            return
        try:
            await self.post("/abort_request", {"rid": rid})
        except RequestRejected:
            self._can_abort = False
        except BackendError as error:
            _log.debug("The request %s could not be aborted: %s", rid, error)

    def unreachable(self, error: Exception) -> BackendUnavailable:
        """The error for a connection that can't be made, or was lost."""
        said = str(error) or type(error).__name__
        return BackendUnavailable(f"Expected an SGLang server at {self.base}, the connection failed: {said}")

    async def _answer(self, method: str, path: str, body: object) -> bytes:
        data = None if body is None else _encoded(body)
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        try:
            async with self._session.request(
                method, self.base + path, data=data, headers=_JSON if data else None, timeout=timeout
            ) as response:
                if response.status != 200:
                    raise await _refusal(response)
                self._seen, self._lost_at = True, None
                return await response.read()
        except aiohttp.InvalidURL as error:
            raise ConfigurationError(f"Expected a host and its port, got {self.base!r}.") from error
        except LOST as error:
            raise self.unreachable(error) from error

    async def _restarted(self, error: Exception) -> None:
        """Wait until a server that was there is there again. Raises BackendUnavailable."""
        loop = asyncio.get_running_loop()
        if self._lost_at is None:
            self._lost_at = loop.time()
            _log.warning(
                "The SGLang server at %s is gone; it has %g s to come back.", self.base, self._patience
            )
            self.on_loss()
        deadline = self._lost_at + self._patience
        while loop.time() < deadline:
            await asyncio.sleep(PROBE_PAUSE)
            with contextlib.suppress(BackendError):
                await self.get("/health")
                return
        raise self.unreachable(error) from error


async def _refusal(response: aiohttp.ClientResponse) -> BackendError:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            text = await response.text(errors="replace")
    except LOST:
        text = ""  # the status says enough
    return failure(response.status, text, retry_after(response.headers))


def _encoded(body: object) -> bytes:
    try:
        return _encoder.encode(body)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestRejected(f"Expected a request that JSON can hold: {error}") from error
