"""A real identity provider: npm's `oidc-provider`, installed once for a machine, and a person with a browser."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.cookiejar
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from html import unescape
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "identity_provider"


def installed() -> Path:
    """The folder with the provider and its packages. Skips the test where npm cannot install them."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("an identity provider needs node and npm, which are not installed")
    digest = hashlib.sha256((HERE / "package.json").read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"hilbert-test-idp-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Several test processes want it at once.
        if not (folder / "done").exists():
            shutil.copy(HERE / "package.json", folder)
            try:
                subprocess.run(
                    [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"],
                    cwd=folder, check=True, capture_output=True, timeout=180,
                )  # fmt: skip
            except (subprocess.SubprocessError, OSError) as exc:
                detail = getattr(exc, "stderr", b"") or str(exc).encode()
                pytest.skip(f"npm cannot install oidc-provider: {detail[-300:]!r}")
            (folder / "done").touch()
        shutil.copy(HERE / "provider.mjs", folder)
    return folder


class IdentityProvider:
    """One provider, on a port of its own that it keeps through an outage."""

    def __init__(self, keys: Path) -> None:
        """`keys` is the file in which it keeps its keys. Skips the test where node is too old for it."""
        self._folder = installed()
        self._keys = keys
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        node = shutil.which("node")
        assert node is not None
        said = self._keys.with_suffix(".log")
        with said.open("wb") as log:
            self._process = subprocess.Popen(
                [node, "provider.mjs", str(self.port), str(self._keys)],
                cwd=self._folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        first = not self.port
        if first and not self._is_up():
            version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
            pytest.skip(f"oidc-provider does not run on node {version}: {said.read_text(errors='replace')[-300:]}")
        if not first:
            self._line("ready ")

    def _is_up(self) -> bool:
        """Whether it says its port at its first start; what does not is a node that cannot run it."""
        try:
            self.port = int(self._line("ready ").split()[1])
        except AssertionError:
            self._process.communicate()
            return False
        return True

    def stop(self) -> None:
        """As in an outage: nothing answers at its port."""
        self._process.communicate()

    def rotate(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"rotate\n")
        self._process.stdin.flush()
        self._line("rotated")

    def _line(self, begin: str) -> str:
        """The next line that begins so; the library's own warnings come in between."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(begin.encode()):
                return line.decode()
        raise AssertionError("the identity provider ended")


class Person:
    """Signs in at the provider's own pages, as a browser would: forms, cookies, redirects."""

    def __init__(self, login: str) -> None:
        self.login = login
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), urllib.request.ProxyHandler({})
        )

    def open(self, url: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """URL and page where it ends."""
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        with contextlib.closing(self._opener.open(url, data, timeout=30)) as answer:
            return answer.url, answer.read().decode()

    def sign_in(self, url: str) -> str:
        """Go through every form until there is none; returns the last page."""
        where, page = self.open(url)
        for _ in range(8):
            form = re.search(r"<form[^>]*>.*?</form>", page, re.DOTALL)
            if form is None:
                return page
            action = re.search(r'action="([^"]*)"', form[0])
            fields = {
                name: unescape(value)
                for name, value in re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', form[0])
            }
            if 'name="login"' in form[0]:
                fields |= {"login": self.login, "password": "x"}
            target = urllib.parse.urljoin(where, unescape(action[1]) if action else "")
            where, page = self.open(target, fields)
        raise AssertionError("the forms did not end")

    def approve(self, url: str, code: str) -> str:
        """The device flow: type the code, confirm, sign in, consent."""
        where, page = self.open(url)
        csrf = re.search(r'name="xsrf" value="([^"]+)"', page)
        assert csrf is not None
        where, page = self.open(url, {"xsrf": csrf[1], "user_code": code})
        csrf = re.search(r'name="xsrf" value="([^"]+)"', page)
        form = {"xsrf": csrf[1] if csrf else "", "user_code": code, "confirm": "yes"}
        where, page = self.open(url, form)
        if "<form" in page:
            return self.sign_in_from(where, page)
        return page

    def sign_in_from(self, where: str, _page: str) -> str:
        return self.sign_in(where)
