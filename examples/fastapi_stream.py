"""A web service that streams answers; a client that goes away ends its run, and the engine's work for it.

    python examples/fastapi_stream.py
    curl --no-buffer --get http://127.0.0.1:8000/answer --data-urlencode "prompt=Compare tea and coffee."

Any engine does: FLOWDECODE_BACKEND=sglang://127.0.0.1:30000 python examples/fastapi_stream.py
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

import flowdecode

SCRIPT = Path(__file__).with_name("demo.jsonl")
BACKEND = os.environ.get("FLOWDECODE_BACKEND") or f"scripted:{SCRIPT}"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """One connection for the whole service, and so one fair queue for all its clients."""
    async with flowdecode.connect(BACKEND, concurrency=64) as flow:
        app.state.flow = flow
        yield


app = FastAPI(lifespan=lifespan)


async def pieces(streaming: AbstractAsyncContextManager[flowdecode.Run]) -> AsyncGenerator[str]:
    """The answer as it comes. Leaving the block, wherever and from whatever task, ends the run."""
    async with streaming as run:
        async for text in run.text:
            yield text


@app.get("/answer")
async def answer(prompt: str, request: Request) -> StreamingResponse:
    # Here what is asked is checked, while there is still time for a status code; it is sent in `pieces`.
    streaming = request.app.state.flow.stream(prompt, timeout=120)
    return StreamingResponse(pieces(streaming), media_type="text/plain; charset=utf-8")


@app.exception_handler(flowdecode.ConfigurationError)
async def refused(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=422)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=8000)
