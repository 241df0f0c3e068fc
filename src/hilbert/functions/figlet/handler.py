"""Writes the request's text in large letters. The query's `font` chooses one of pyfiglet's fonts."""

from pyfiglet import Figlet, FontNotFound

LONGEST = 2000

_figlets = {"standard": Figlet(font="standard", width=80)}


def handle(event, context):  # noqa: ARG001 - the platform passes both
    text = event.body.decode("utf-8", "replace").rstrip("\r\n")
    if len(text) > LONGEST:
        return _plain(f"The text has {len(text)} characters; {LONGEST} are the most.\n", 413)
    name = event.query.get("font", "standard")
    try:
        figlet = _figlets.get(name) or Figlet(font=name, width=80)
    except FontNotFound:
        return _plain(f"There is no font {name!r}.\n", 400)
    return _plain(figlet.renderText(text).rstrip("\n") + "\n")


def _plain(text, status=200):
    return {"statusCode": status, "body": text, "headers": {"Content-Type": "text/plain; charset=utf-8"}}
