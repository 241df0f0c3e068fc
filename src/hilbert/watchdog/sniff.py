"""A content type found by looking at the first bytes of the content.

The rules are those of the WHATWG's MIME Sniffing Standard (sections 6 and 7), as far as OpenFaaS's classic watchdog and its file
server apply them: text is UTF-8, and XML counts as text.
"""

from __future__ import annotations

from typing import Final

LOOKED_AT: Final = 512
"""Bytes that count."""

_BLANKS: Final = b"\t\n\x0c\r "
_BINARY: Final = bytes({*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)})
_TAGS: Final = (
    b"<!DOCTYPE HTML",
    b"<HTML",
    b"<HEAD",
    b"<SCRIPT",
    b"<IFRAME",
    b"<H1",
    b"<DIV",
    b"<FONT",
    b"<TABLE",
    b"<A",
    b"<STYLE",
    b"<TITLE",
    b"<B",
    b"<BODY",
    b"<BR",
    b"<P",
    b"<!--",
)
_BEGINNINGS: Final = (
    (b"%PDF-", b"application/pdf"),
    (b"%!PS-Adobe-", b"application/postscript"),
    (b"\xfe\xff", b"text/plain; charset=utf-16be"),
    (b"\xff\xfe", b"text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf", b"text/plain; charset=utf-8"),
    (b"\x00\x00\x01\x00", b"image/x-icon"),
    (b"\x00\x00\x02\x00", b"image/x-icon"),
    (b"BM", b"image/bmp"),
    (b"GIF87a", b"image/gif"),
    (b"GIF89a", b"image/gif"),
    (b"\x89PNG\r\n\x1a\n", b"image/png"),
    (b"\xff\xd8\xff", b"image/jpeg"),
    (b"ID3", b"audio/mpeg"),
    (b"OggS\x00", b"application/ogg"),
    (b"MThd\x00\x00\x00\x06", b"audio/midi"),
    (b"\x1a\x45\xdf\xa3", b"video/webm"),
    (b"\x00\x01\x00\x00", b"font/ttf"),
    (b"OTTO", b"font/otf"),
    (b"ttcf", b"font/collection"),
    (b"wOFF", b"font/woff"),
    (b"wOF2", b"font/woff2"),
    (b"\x1f\x8b\x08", b"application/x-gzip"),
    (b"PK\x03\x04", b"application/zip"),
    (b"Rar!\x1a\x07\x00", b"application/x-rar-compressed"),
    (b"\x00asm", b"application/wasm"),
)
_CONTAINERS: Final = (
    (b"RIFF", b"WEBPVP", b"image/webp"),
    (b"FORM", b"AIFF", b"audio/aiff"),
    (b"RIFF", b"AVI ", b"video/avi"),
    (b"RIFF", b"WAVE", b"audio/wave"),
)
"""First bytes, and those from the ninth on."""


def content_type(content: bytes) -> bytes:
    """The value of a `Content-Type` header for content that begins with `content`."""
    head = content[:LOOKED_AT]
    text = head.lstrip(_BLANKS)
    if _is_html(text):
        return b"text/html; charset=utf-8"
    if text.startswith(b"<?xml"):
        return b"text/xml; charset=utf-8"
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    for beginning, inner, kind in _CONTAINERS:
        if head.startswith(beginning) and head.startswith(inner, 8):
            return kind
    if _is_mp4(head):
        return b"video/mp4"
    return b"text/plain; charset=utf-8" if head.translate(None, _BINARY) == head else b"application/octet-stream"


def _is_html(text: bytes) -> bool:
    upper = text[:20].upper()
    return any(upper.startswith(tag) and upper[len(tag) : len(tag) + 1] in (b" ", b">") for tag in _TAGS)


def _is_mp4(head: bytes) -> bool:
    """Section 6.2.1: the brands in the first box."""
    size = int.from_bytes(head[:4])
    if len(head) < 12 or size % 4 or not 12 <= size <= len(head) or head[4:8] != b"ftyp":
        return False
    return any(head[at : at + 3] == b"mp4" for at in range(8, size, 4) if at != 12)
