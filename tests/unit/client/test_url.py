"""Gateway URLs and proxies."""

from __future__ import annotations

import pytest

from hilbert.client.url import find_proxy, parse_url
from hilbert.core.errors import Invalid


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("HTTP://Example.COM:80", "http://example.com"),
        ("https://example.com:443/base/", "https://example.com/base"),
        ("example.com:31112", "http://example.com:31112"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        (" http://a ", "http://a"),
    ],
)
def test_a_url_is_normalised(text: str, printed: str) -> None:
    """Schemes are added, default ports and closing slashes dropped."""
    assert str(parse_url(text)) == printed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "ftp://a",
        "http://a?x=1",
        "http://a#b",
        "http://a b",
        "http://a:99999",
        "http://a\r\nX: y",
        "http://[::1",
        "http://ä",
    ],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    """With a sentence, not with a traceback."""
    with pytest.raises(Invalid, match="not a gateway URL"):
        parse_url(text)


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://example.com", {}, None),
        ("http://example.com", {"HTTP_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("http://example.com", {"http_proxy": "proxy:3128"}, "http://proxy:3128"),
        ("https://example.com", {"http_proxy": "http://proxy:3128"}, None),
        ("https://example.com", {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("http://example.com", {"ALL_PROXY": "http://proxy:1"}, "http://proxy:1"),
        ("http://example.com", {"HTTP_PROXY": "http://proxy", "NO_PROXY": "other,example.com"}, None),
        ("http://a.example.com", {"HTTP_PROXY": "http://proxy", "NO_PROXY": ".example.com"}, None),
        ("http://badexample.com", {"HTTP_PROXY": "http://proxy", "NO_PROXY": "example.com"}, "http://proxy"),
        ("http://example.com:81", {"HTTP_PROXY": "http://proxy", "NO_PROXY": "example.com:81"}, None),
        ("http://example.com", {"HTTP_PROXY": "http://proxy", "NO_PROXY": "*"}, None),
        ("http://127.0.0.1:8080", {"HTTP_PROXY": "http://proxy"}, None),
        ("http://localhost", {"HTTP_PROXY": "http://proxy"}, None),
    ],
)
def test_the_proxy_comes_from_the_environment(url: str, environ: dict[str, str], proxy: str | None) -> None:
    """And loopback never goes through one."""
    found = find_proxy(parse_url(url), environ)
    assert (str(found) if found else None) == proxy


@pytest.mark.parametrize("named", ["socks5://me:secret@proxy:1080", "https://me:secret@proxy", "http://me:secret@"])
def test_a_proxy_that_is_no_http_one_is_refused(named: str) -> None:
    """Without showing its password."""
    with pytest.raises(Invalid, match="proxy for http") as caught:
        find_proxy(parse_url("http://example.com"), {"HTTP_PROXY": named})
    assert "secret" not in caught.value.message + caught.value.hint
