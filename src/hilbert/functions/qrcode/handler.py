"""Makes a QR code of the request's text, as a PNG picture. The query's `scale` (1 to 40) is the size of its dots."""

import io

import segno


def handle(event, context):  # noqa: ARG001 - the platform passes both
    text = event.body.decode("utf-8", "replace").rstrip("\r\n")
    scale = event.query.get("scale", "8")
    if not text:
        return _plain("Send the text for the code as the request's body.\n")
    if not (scale.isascii() and scale.isdigit() and 1 <= int(scale[:3]) <= 40):
        return _plain(f"scale must be a number from 1 to 40, not {scale!r}.\n")
    try:
        code = segno.make(text, micro=False)
    except segno.DataOverflowError:
        return _plain("The text is too long for a QR code; about 2,900 characters fit.\n")
    picture = io.BytesIO()
    code.save(picture, kind="png", scale=int(scale))
    return {"body": picture.getvalue(), "headers": {"Content-Type": "image/png"}}


def _plain(text):
    return {"statusCode": 400, "body": text, "headers": {"Content-Type": "text/plain; charset=utf-8"}}
