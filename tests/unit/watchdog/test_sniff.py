"""Types found in content, by the tables of the MIME Sniffing Standard."""

from __future__ import annotations

import pytest

from hilbert.watchdog.sniff import LOOKED_AT, content_type


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"words", b"text/plain; charset=utf-8"),
        (b"\xff", b"text/plain; charset=utf-8"),
        (b"\x1b[1mbold", b"text/plain; charset=utf-8"),
        (b"a\x00b", b"application/octet-stream"),
        (b"x" * LOOKED_AT + b"\x00", b"text/plain; charset=utf-8"),
        (b"\n <!doctype HTML>", b"text/html; charset=utf-8"),
        (b"<p>", b"text/html; charset=utf-8"),
        (b"<p", b"text/plain; charset=utf-8"),
        (b"<path>", b"text/plain; charset=utf-8"),
        (b"<!-- note", b"text/html; charset=utf-8"),
        (b'  <?xml version="1.0"?>', b"text/xml; charset=utf-8"),
        (b"%PDF-1.7", b"application/pdf"),
        (b"\xff\xfea\x00", b"text/plain; charset=utf-16le"),
        (b"GIF89a..", b"image/gif"),
        (b"\xff\xd8\xff\xe0", b"image/jpeg"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", b"image/webp"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", b"audio/wave"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", b"video/mp4"),
        (b"\x00\x00\x00\x18ftypqt  mp42qt  qt  ", b"application/octet-stream"),
        (b"\x00\x00\x00\xffftypmp42", b"application/octet-stream"),
        (b"PK\x03\x04", b"application/zip"),
        (b"wOF2", b"font/woff2"),
    ],
)
def test_content(content: bytes, kind: bytes) -> None:
    """One row for each kind of rule."""
    assert content_type(content) == kind
