from __future__ import annotations

import pytest

import flowdecode
from flowdecode_backends.scripted import Reply, Scripted

pytestmark = pytest.mark.anyio


async def test_sends_nothing_but_the_prompt() -> None:
    engine = Scripted([Reply("Fine.")])
    await flowdecode.run("How are you?", backend=engine, strategy="sequential")
    assert [request.context.messages() for request in engine.requests] == [
        [{"role": "user", "content": "How are you?"}]
    ]


async def test_keeps_the_conversation_and_the_template_s_settings() -> None:
    engine = Scripted([Reply("Fine.")])
    result = await flowdecode.run(
        [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "How are you?"},
        ],
        system="Be brief.",
        backend=engine,
        strategy="sequential",
        chat_template_kwargs={"enable_thinking": True},
    )
    context = engine.requests[0].context
    assert [message["content"] for message in context.messages()] == [
        "Be brief.",
        "Hello",
        "Hi.",
        "How are you?",
    ]
    assert context.chat_template_kwargs == {"enable_thinking": True}
    assert (result.text, result.strategy, result.work, result.span) == ("Fine.", "sequential", 2, 2)


async def test_a_thought_is_not_the_answer() -> None:
    engine = Scripted([Reply("<think>Hm, 2 and 2.</think>\n\nFour.")])
    result = await flowdecode.run("2 + 2?", backend=engine, strategy="sequential")
    assert result.text == "Four."
    assert result.nodes[0].text.startswith("<think>")
