"""A run as one page of HTML, made from its result alone: the answer, the graph and a timeline.

    from flowdecode.timeline import to_html

    Path("run.html").write_text(to_html(result), encoding="utf-8")

A result that was saved as JSON will do: `to_html(Result.from_json(text))`. The page has no script
and loads nothing.
"""

from flowdecode.timeline.page import to_html

__all__ = ["to_html"]
