"""Each shipped template: built as it is, run, called; its tests, its mistakes, its dependencies."""

from __future__ import annotations

import json
import runpy
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from hilbert.builder.build_errors import BuildFailed, InvalidHandler, InvalidTemplate
from hilbert.builder.templates import SHIPPED
from support.build import Project, needs_node, needs_npm, write


@pytest.fixture(scope="module")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers that the tests here share, so that each set of packages is fetched once."""
    folder = tmp_path_factory.mktemp("dependencies")
    for name in ("layers", "keys"):
        (folder / name).mkdir()
    return folder


@pytest.fixture
def project(tmp_path: Path, dependencies: Path) -> Project:
    made = Project(tmp_path)
    made.store.path.mkdir(parents=True)
    for name in ("layers", "keys"):
        (made.store.path / name).symlink_to(dependencies / name)
    return made


def call(url: str, body: bytes | None = None, **headers: str) -> tuple[int, str, str]:
    """Status, content type and body."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, headers=given), timeout=20) as answer:
            return answer.status, answer.headers.get("Content-Type", ""), answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.headers.get("Content-Type", ""), exc.read().decode()


TEMPLATES = [
    pytest.param("python3-http", "handler.py", "Hello", id="python3-http"),
    pytest.param("python3-asgi", "handler.py", "Hello", id="python3-asgi"),
    pytest.param("node22", "handler.js", "Hello", id="node22", marks=needs_node),
    pytest.param("node18", "handler.js", "Hello", id="node18", marks=needs_node),
    pytest.param("python3", "handler.py", "Hello", id="python3"),
    pytest.param("python3-flask", "handler.py", "Hello", id="python3-flask"),
    pytest.param("bash", "handler.sh", "Hello", id="bash"),
]


@pytest.mark.parametrize(("lang", "file", "word"), TEMPLATES)
def test_it_answers_as_it_is(project: Project, lang: str, file: str, word: str) -> None:
    """Begun, built with its tests, run, called."""
    built = project.build(project.begin("f", lang))
    assert built.changed
    with project.running(built) as url:
        status, kind, body = call(f"{url}/?name=Ada", b"Ada")
    assert (status, body.rstrip()) == (200, "Hello, Ada!")
    assert kind.startswith("text/html" if lang == "python3-flask" else ("text/plain", "application/x-www-form"))


@pytest.mark.parametrize(("lang", "file", "word"), TEMPLATES)
def test_the_same_source_is_the_same_bundle(project: Project, lang: str, file: str, word: str) -> None:
    """Whenever and wherever it is built; a change of the handler changes it, its layers stay."""
    request = project.begin("f", lang)
    first = project.build(request)
    again = project.build(request)
    assert again.record.digest == first.record.digest
    assert not again.changed
    (request.handler / file).write_text((request.handler / file).read_text() + "\n")
    other = project.build(request)
    assert other.record.digest != first.record.digest
    assert other.manifest.layers == first.manifest.layers


@pytest.mark.parametrize(("lang", "file", "word"), TEMPLATES)
def test_its_test_can_fail(project: Project, lang: str, file: str, word: str) -> None:
    """A handler that answers otherwise does not get past it, unless tests are left out."""
    request = project.begin("f", lang)
    project.build(request)
    before = project.store.find("f", namespace="")
    (request.handler / file).write_text((request.handler / file).read_text().replace(word, "Bye"))
    with pytest.raises(BuildFailed, match="its tests fail") as caught:
        project.build(request)
    assert "Bye" in "\n".join(caught.value.log)
    assert project.store.find("f", namespace="") == before
    assert project.build(request, skip_tests=True).changed
    quiet = project.request("f", lang, build_args={"TEST_ENABLED": "false"}, image="g:1")
    assert project.build(quiet).record.digest


PLAIN = "def test_it():\n    assert 1 == {}\n"


@pytest.mark.parametrize("requirements", ["", "pytest\n"])
def test_functions_are_tests_too(project: Project, requirements: str) -> None:
    """As pytest has them; it runs them where the function requires it, fixtures and all."""
    files = {"requirements.txt": requirements, "handler_test.py": PLAIN.format(2)}
    request = project.begin("f", "python3-http", files)
    with pytest.raises(BuildFailed, match="its tests fail") as caught:
        project.build(request)
    assert "assert 1 == 2" in "\n".join(caught.value.log)
    (request.handler / "handler_test.py").write_text(PLAIN.format(1) + "\nasync def test_other():\n    assert True\n")
    if not requirements:
        assert project.build(request).untested == ""
    (request.handler / "handler_test.py").write_text("def test_it(tmp_path):\n    assert tmp_path.is_dir()\n")
    if requirements:
        assert project.build(request).untested == ""
    else:
        with pytest.raises(BuildFailed) as caught:
            project.build(request)
        assert "add pytest to requirements.txt" in "\n".join(caught.value.log)


def test_a_file_for_tests_without_one_is_said(project: Project) -> None:
    """A build that tested nothing does not look like one that passed."""
    request = project.begin("f", "python3-http", {"handler_test.py": "def check():\n    assert False\n"})
    assert project.build(request).untested == "handler_test.py"


@pytest.mark.parametrize(("lang", "file", "word"), TEMPLATES)
def test_mistakes_of_syntax_are_found(project: Project, lang: str, file: str, word: str) -> None:
    """Before anything runs; the log names the line."""
    request = project.begin("f", lang)
    (request.handler / file).write_text("\n\nif ((\n")
    with pytest.raises(BuildFailed) as caught:
        project.build(request, skip_tests=True)
    said = "\n".join(caught.value.log) + caught.value.message
    assert file in said
    assert "3" in said
    assert project.store.find("f", namespace="") is None
    assert not list((project.store.path / "bundles").iterdir())
    assert not list((project.store.path / "tmp").iterdir())


@pytest.mark.parametrize("lang", ["python3-http", "node22", "python3-flask"])
def test_openfaas_templates_in_a_project(project: Project, lang: str) -> None:
    """What `faas-cli template pull` leaves says only how to build an image: the shipped template makes the bundle."""
    write(project.folder / "template" / lang, {"template.yml": f"language: {lang}\nfprocess: python index.py\n"})
    built = project.build(project.begin("f", lang), skip_tests=True)
    with project.running(built) as url:
        assert "Hello" in call(url)[2]


@pytest.mark.parametrize(
    ("lang", "source", "reason"),
    [
        (
            "python3-http",
            "def handle(req):\n    return req\n",
            r"handle\(req\) takes 1 .* python3-http calls handle\(event, context\)",
        ),
        (
            "python3-http",
            "async def handle():\n    return 1\n",
            r"handle\(\) takes 0 .* calls handle\(event, context\)",
        ),
        (
            "python3-http",
            "def handle(a, b, c):\n    return 1\n",
            r"handle\(a, b, c\) takes 3 .* calls handle\(event, context\)",
        ),
        (
            "python3",
            "def handle(event, context):\n    return 1\n",
            r"handle\(event, context\) takes 2 .* calls handle\(req\)",
        ),
        ("python3-flask", "def handle(a, b):\n    return 1\n", r"takes 2 .* calls handle\(req\)"),
    ],
)
def test_a_handler_of_another_contract(project: Project, lang: str, source: str, reason: str) -> None:
    """Refused before it is deployed, with the templates that run it."""
    with pytest.raises(InvalidHandler, match=reason) as caught:
        project.build(project.begin("f", lang, {"handler.py": source, "handler_test.py": ""}))
    assert "choose one of them" in caught.value.hint


@pytest.mark.parametrize(
    "source",
    [
        "def handle(event, context, extra=None):\n    return 'Hello'\n",
        "def handle(*args):\n    return 'Hello'\n",
        "import functools\n\n@functools.cache\ndef handle(one):\n    return 'x'\n\nhandle = lambda e, c: 'Hello'\n",
    ],
)
def test_a_handler_that_can_be_called(project: Project, source: str) -> None:
    """Defaults, any number, and what the source does not tell are no reason to refuse."""
    built = project.build(project.begin("f", "python3-http", {"handler.py": source, "handler_test.py": ""}))
    with project.running(built) as url:
        assert call(url)[2] == "Hello"


def test_python_packages(project: Project) -> None:
    """Installed into a layer of their own, which functions with equal requirements share."""
    handler = "import segno\n\ndef handle(event, context):\n    return segno.__version__\n"
    files = {"handler.py": handler, "handler_test.py": "", "requirements.txt": "# a comment\nsegno==1.6.1\n\n"}
    built = project.build(project.begin("one", "python3-http", files))
    (layer,) = built.manifest.layers
    with project.running(built) as url:
        assert call(url)[2] == "1.6.1"
    other = project.begin("two", "python3-http", files | {"requirements.txt": "segno==1.6.1"})
    assert project.build(other).manifest.layers == (layer,)
    compiled = list((project.store.layer_path(layer) / "segno" / "__pycache__").iterdir())
    assert any(path.name.startswith("__init__") for path in compiled)


FASTAPI = """
from fastapi import FastAPI

app = FastAPI()


@app.get("/add")
def add(a: int, b: int):
    return a + b
"""

STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


async def add(request):
    return JSONResponse(sum(int(value) for value in request.query_params.values()))


app = Starlette(routes=[Route("/add", add)])
"""

BARE = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    total = sum(int(pair.split(b"=")[1]) for pair in scope["query_string"].split(b"&"))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(total).encode()})
"""


@pytest.mark.parametrize(
    ("requirement", "app"),
    [("fastapi", FASTAPI), ("starlette", STARLETTE), ("", BARE)],
    ids=["fastapi", "starlette", "bare"],
)
def test_asgi_applications(project: Project, requirement: str, app: str) -> None:
    """FastAPI, Starlette, and one of no framework."""
    files = {"handler.py": app, "handler_test.py": "", "requirements.txt": requirement}
    built = project.build(project.begin("f", "python3-asgi", files))
    with project.running(built) as url:
        assert call(f"{url}/add?a=2&b=3")[0::2] == (200, "5")
        if requirement == "fastapi":
            assert call(f"{url}/add?a=x&b=3")[0] == 422


SOCKET = """
async def app(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    text = (await receive())["text"]
    await send({"type": "websocket.send", "text": text.upper()})
    await send({"type": "websocket.close"})
"""


def test_an_asgi_application_speaks_websocket(project: Project) -> None:
    """Without a requirement of its own."""
    built = project.build(project.begin("f", "python3-asgi", {"handler.py": SOCKET, "handler_test.py": ""}))
    with project.running(built) as url, closing(HTTPConnection(url.partition("//")[2], timeout=20)) as client:
        asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        client.request("GET", "/", headers=asked | {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})
        client.sock.sendall(b"\x81\x85\0\0\0\0hello")  # A text frame, masked with zeros.
        answer = client.getresponse()
        assert answer.status == 101
        assert answer.fp.read(7) == b"\x81\x05HELLO"


class Wire:
    """A transport and its loop, which remember what was done."""

    def __init__(self) -> None:
        self.done: list[object] = []
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("close")


def test_an_asgi_answer_is_written_in_one_piece() -> None:
    """Head and body together at the end of the turn, or before anything else is done; a long body is not held."""
    joined = runpy.run_path(str(SHIPPED / "python3-asgi" / "index.py"))["Joined"]
    wire = Wire()
    transport = joined(wire, wire)
    transport.write(b"head ")
    transport.write(b"body")
    assert wire.done == []
    wire.soon.pop()()
    transport.write(b"last")
    transport.close()
    transport.write(b"x" * 100_000)
    assert wire.done == [b"head body", b"last", "close", b"x" * 100_000]


def test_an_asgi_application_knows_its_caller() -> None:
    """Address, host, scheme and prefix come from the gateway's headers; without them the scope stays as it is."""
    seen = runpy.run_path(str(SHIPPED / "python3-asgi" / "index.py"))["seen_by_callers"]
    bare = {
        "type": "http",
        "path": "/dir",
        "raw_path": b"/dir",
        "scheme": "http",
        "headers": [(b"host", b"f.openfaas-fn")],
    }
    assert seen(bare) == bare
    said = {"for": "203.0.113.7:4711", "host": "example.com", "proto": "https", "prefix": "/function/f"}
    headers = [(f"x-forwarded-{name}".encode(), value.encode()) for name, value in said.items()]
    scope = seen({**bare, "headers": bare["headers"] + headers})  # type: ignore[operator]
    assert (scope["client"], scope["scheme"]) == (("203.0.113.7", 4711), "https")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == (
        "/function/f",
        "/function/f/dir",
        b"/function/f/dir",
    )
    assert [value for name, value in scope["headers"] if name == b"host"] == [b"example.com"]
    assert seen({**bare, "type": "websocket", "headers": headers})["scheme"] == "wss"
    for text, client in (("[2001:db8::1]:80", ("2001:db8::1", 80)), ("2001:db8::1", ("2001:db8::1", 0))):
        assert seen({**bare, "headers": [(b"x-forwarded-for", text.encode())]})["client"] == client


def test_openfaas_python_handlers(project: Project) -> None:
    """Relative imports, `function.` imports and tests without classes, as upstream's projects have them."""
    files = {
        "handler.py": "from .lib import one\nfrom function.lib import two\n\ndef handle(event, context):\n"
        "    return {'statusCode': 201, 'body': {'n': one + two}, 'headers': {'X-N': '1'}}\n",
        "lib.py": "one, two = 1, 2\n",
        "handler_test.py": "from .handler import handle\n\ndef test_handle():\n    pass\n",
        "tox.ini": "[tox]\n",
    }
    request = project.begin("f", "python3-http", files)
    built = project.build(project.request("f", "python3-http-debian", image=request.image))
    with project.running(built) as url:
        status, kind, body = call(url)
    assert (status, json.loads(body)) == (201, {"n": 3})
    assert kind == "application/json"


NODE = """
module.exports = async (event, context) => {
  switch (event.path) {
    case '/echo': return { body: event.body, type: typeof event.body, query: event.query, method: event.method };
    case '/raw': return Buffer.isBuffer(event.body) ? event.body : 'no buffer';
    case '/status': return context.status(202).headers({ 'X-A': 'b' }).succeed('made');
    case '/fail': return context.fail(new Error('broken'));
    case '/throw': throw new Error('thrown');
    case '/both': context.succeed('first'); return 'second';
    case '/stream': return (async function* () { yield 'a'; yield 'b'; })();
    case '/state': return { status: context.status(), headers: context.headers() };
  }
};
"""


@needs_node
def test_the_contract_of_node_handlers(project: Project) -> None:
    """OpenFaaS's event and context."""
    request = project.begin("f", "node22", {"handler.js": NODE, "handler.test.js": ""})
    built = project.build(request)
    with project.running(built) as url:

        def echo(body: bytes | None, kind: str) -> dict[str, object]:
            found: dict[str, object] = json.loads(call(f"{url}/echo?a=1&a=2&b=3", body, Content_Type=kind)[2])
            return found

        said = echo(b'{"x": [1]}', "application/json")
        assert said == {"body": {"x": [1]}, "type": "object", "query": {"a": ["1", "2"], "b": "3"}, "method": "POST"}
        assert echo(b"hi", "text/plain; charset=utf-8")["body"] == "hi"
        assert echo(b"a=1&b=2", "application/x-www-form-urlencoded")["body"] == {"a": "1", "b": "2"}
        assert call(f"{url}/raw", b"\x00\x01", Content_Type="application/octet-stream")[2] == "\x00\x01"
        assert call(f"{url}/echo", b"{", Content_Type="application/json")[0] == 400
        assert call(f"{url}/echo", b"x" * 200_000, Content_Type="text/plain")[0] == 413
        assert call(f"{url}/status")[0::2] == (202, "made")
        assert call(f"{url}/fail")[0::2] == (500, "Error: broken")
        assert call(f"{url}/throw")[0::2] == (500, "Error: thrown")
        assert call(f"{url}/both")[2] == "first"
        assert call(f"{url}/stream")[2] == "ab"
        assert json.loads(call(f"{url}/state")[2]) == {"status": 200, "headers": {}}
        assert call(f"{url}/none")[0::2] == (200, "")


@needs_node
def test_node_environment(project: Project) -> None:
    """`RAW_BODY` and `MAX_RAW_SIZE`, as in OpenFaaS."""
    request = project.begin("f", "node22", {"handler.js": NODE, "handler.test.js": ""})
    built = project.build(request)
    with project.running(built, RAW_BODY="true", MAX_RAW_SIZE="1kb") as url:
        assert call(f"{url}/raw", b'{"x": 1}', Content_Type="application/json")[2] == '{"x": 1}'
        assert call(f"{url}/raw", b"x" * 2000, Content_Type="text/plain")[0] == 413


@needs_npm
@pytest.mark.parametrize("kind", ["commonjs", "module"])
def test_npm_packages(project: Project, kind: str) -> None:
    """For `require` and for `import`."""
    package = {"name": "f", "version": "1.0.0", "private": True, "dependencies": {"ms": "2.1.3"}}
    handler = "const ms = require('ms');\nmodule.exports = async () => String(ms('2h'));\n"
    if kind == "module":
        package["type"] = "module"
        handler = "import ms from 'ms';\nexport default async () => String(ms('2h'));\n"
    files = {"handler.js": handler, "handler.test.js": "", "package.json": json.dumps(package)}
    built = project.build(project.begin("f", "node22", files))
    (layer,) = built.manifest.layers
    assert not (built.path / "function" / "node_modules").exists()
    assert (project.store.layer_path(layer) / "node_modules" / "ms").is_dir()
    with project.running(built) as url:
        assert call(url)[2] == "7200000"


def test_a_dockerfile_is_no_bundle(project: Project) -> None:
    """It says what to do instead."""
    with pytest.raises(InvalidTemplate) as caught:
        project.build(project.begin("f", "dockerfile"))
    assert "--image-build" in caught.value.hint


def test_the_handler_has_another_name(project: Project) -> None:
    """The file that the template runs is named."""
    request = project.begin("f", "python3-http")
    (request.handler / "handler.py").rename(request.handler / "main.py")
    with pytest.raises(InvalidHandler, match=r"the handler handler\.py is not in"):
        project.build(request)


def test_what_tests_write_is_not_built(project: Project) -> None:
    """They run in a copy."""
    test = "import unittest\n\nclass T(unittest.TestCase):\n    def test(self):\n        open('left', 'w').close()\n        open('function/left', 'w').close()\n"
    built = project.build(project.begin("f", "python3-http", {"handler_test.py": test}))
    assert not list(built.path.rglob("left"))
    assert not list(built.path.rglob("__init__.py"))
