"""Skeleton-of-Thought (arXiv 2307.15337): a skeleton, a barrier, then every point of it at once.

As in the authors' repository: two prompts, of which the first has two worked examples; both stages go on
behind the beginning of an answer, `1.` and a point's number and title; the points are found by a regular
expression. The prompts say what theirs say in about as many words, and are our own. There is no router:
the question is taken to suit. A point sees the question and the skeleton, never another point: what
a plan says of dependencies has no place in it, and is ignored.
"""

from __future__ import annotations

import re

from flowdecode.context import Block
from tests.benchmarks.forced_plan import ForcedPlan, Literal
from tests.benchmarks.methods.client import Client, Written, together

__all__ = ["answer"]

SKELETON = """\
Be the one who draws up the skeleton of an answer (never the whole of it), and leave the answer itself to \
others. The skeleton is a numbered list of points (written as 1., 2., 3. and so on) that would answer the \
question. A point is no complete sentence: three to five words are always enough for it. A good skeleton has \
three to ten points in all.

Question:
Which traditional sorts of bread are eaten in Germany?
Skeleton:
1. Rye bread.
2. Mixed wheat bread.
3. Pumpernickel.
4. Pretzels.
5. Rolls.
6. Sourdough loaves.
7. Crispbread.
8. Toast.

Question:
Which practical habits help a household to use less water?
Skeleton:
1. Shorter morning showers.
2. Completely filled washing machines.
3. Repaired dripping taps.
4. Rainwater for the garden.
5. Economical shower fittings.
6. Washing water used twice.

Here is the question that needs a skeleton now, please.
{question}
Skeleton:
"""
POINT = """\
You are going on with the writing of one single point of the whole answer to the question below, \
and of nothing else.

{question}

The skeleton of the whole answer is

{skeleton}

Go on with point {number}, and only with it. Write it **very briefly**, in one or two sentences, and \
leave all of the other points alone!"""

_POINT = re.compile(r"(\d+)\.\s?(.+)")


async def answer(client: Client, plan: ForcedPlan) -> dict[int, Written]:
    """Two stages."""
    asked = SKELETON.format(question=plan.question)
    rest = "\n".join(f"{number}. {part.title}." for number, part in plan.parts.items()).removeprefix("1.")
    drawn = await client.decode(
        client.context(Block("user", asked), Block("assistant", "1.")), grammar=Literal.of(rest)
    )
    skeleton = f"1.{drawn.block.text}"

    def point(number: int, title: str) -> tuple[Block, Block]:
        told = POINT.format(question=plan.question, skeleton=skeleton, number=number)
        return Block("user", told), Block("assistant", f"{number}. {title}")

    points = {int(number): title for number, title in _POINT.findall(skeleton)}
    return await together({
        number: client.decode(client.context(*point(number, title)), tokens=plan.parts[number].tokens)
        for number, title in points.items()
    })  # fmt: skip
