"""Scripts for the strategies' tests: a planner's reply, and one for each part."""

from __future__ import annotations

from collections.abc import Mapping

from flowdecode_backends.scripted import Reply

PLANNER = "Write only the plan"
PLAIN = "Tea is mild, coffee is strong; drink tea in the evening."
DIAMOND = "1. Tea (20)\n2. Coffee (20)\n3. Verdict (12) <- 1, 2\n"
PARTS = {
    1: "Tea is mild and green.",
    2: "Coffee is strong and black.",
    3: "Drink tea in the evening.",
    4: "And sleep well.",
}
ANSWER = (
    "## Tea\n\nTea is mild and green.\n\n"
    "## Coffee\n\nCoffee is strong and black.\n\n"
    "## Verdict\n\nDrink tea in the evening."
)


def part(number: int) -> str:
    """What only the request for this part says."""
    return f"only part {number}"


def script(
    plan: Reply | str = DIAMOND,
    *,
    parts: Mapping[int, Reply | str] = PARTS,
    plain: Reply | str = PLAIN,
    pace: float | None = 0.0,
) -> list[Reply]:
    """Replies of an engine that plans, writes parts, and answers plainly."""

    def reply(text: Reply | str, match: str | None) -> Reply:
        return text if isinstance(text, Reply) else Reply(text, match=match, pace=pace)

    return [
        reply(plan, PLANNER),
        *(reply(text, part(number)) for number, text in parts.items()),
        reply(plain, None),
    ]
