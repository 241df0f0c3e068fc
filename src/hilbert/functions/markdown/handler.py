"""Turns Markdown into HTML: CommonMark with tables and strikethrough. HTML in the text is shown, not passed on."""

from markdown_it import MarkdownIt

_markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def handle(event, context):  # noqa: ARG001 - the platform passes both
    html = _markdown.render(event.body.decode("utf-8", "replace"))
    return {"body": html, "headers": {"Content-Type": "text/html; charset=utf-8"}}
