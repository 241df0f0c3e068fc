"""Stack files: typed meaning, refusals that name line and key, the round trip."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hilbert.core.errors import InvalidStack
from hilbert.stack.file import (
    Amounts,
    Configuration,
    Document,
    Provider,
    StackFunction,
    TemplateSource,
    dump_stack,
    load_stack,
    parse_stack,
    read_environment,
)

FULL = """\
version: 1.0
provider:
  name: openfaas
  gateway: http://127.0.0.1:8080
functions:
  web:
    lang: python3-http@1.2
    handler: ./web
    image: reg.example.com/web:${TAG:-dev}
    fprocess: python index.py
    environment:
      COUNTRY: NO
      VERSION: 1.10
      MODE: 0123
      AT: 10:30
      FLAG: yes
      NOTHING: ~
      QUOTED: "null"
    environment_file: [one.yaml, two.yaml]
    secrets: [db]
    skip_build: yes
    constraints:
      - "node.role=worker"
    labels:
      com.openfaas.scale.min: 2
      on: true
    annotations:
      schedule: "*/5 * * * *"
    limits: {memory: 128Mi, cpu: 0.5}
    requests:
      memory: 64Mi
    readonly_root_filesystem: true
    build_options: [dev]
    build_args:
      PYTHON_VERSION: 3.10
    build_secrets:
      pip: ./pip.conf
    platforms: linux/amd64,linux/arm64
    namespace: dev
  empty:
configuration:
  templates:
    - name: node22
      source: https://example.com/t.git#v1
  copy: [./common]
"""


def parsed(text: str) -> StackFunction:
    return parse_stack(f"functions:\n  f:\n{text}").functions["f"]


def test_every_field_has_its_typed_meaning(tmp_path: Path) -> None:
    """Text stays as it was written, whatever YAML would make of it."""
    file = tmp_path / "stack.yaml"
    file.write_text(FULL)
    stack = load_stack(str(file), environ={"TAG": "7"})
    assert stack.version == "1.0"
    assert stack.provider == Provider(name="openfaas", gateway="http://127.0.0.1:8080")
    web = stack.functions["web"]
    assert web.image == "reg.example.com/web:7"
    assert web.environment == {
        "COUNTRY": "NO",
        "VERSION": "1.10",
        "MODE": "0123",
        "AT": "10:30",
        "FLAG": "yes",
        "NOTHING": "",
        "QUOTED": "null",
    }
    assert web.labels == {"com.openfaas.scale.min": "2", "on": "true"}
    assert web.skip_build
    assert web.readonly_root_filesystem
    assert web.limits == Amounts(memory="128Mi", cpu="0.5")
    assert web.requests == Amounts(memory="64Mi")
    assert web.build_args == {"PYTHON_VERSION": "3.10"}
    assert web.build_secrets == {"pip": "./pip.conf"}
    assert web.environment_file == ("one.yaml", "two.yaml")
    assert stack.functions["empty"] == StackFunction()
    assert stack.configuration == Configuration(
        templates=(TemplateSource(name="node22", source="https://example.com/t.git#v1"),), copy=("./common",)
    )
    assert stack.warnings == ()


def test_substitution_can_be_switched_off(tmp_path: Path) -> None:
    """With --envsubst=false a dollar is a dollar."""
    file = tmp_path / "stack.yaml"
    file.write_text("functions:\n  f:\n    image: a:${TAG}\n")
    assert load_stack(str(file), environ={"TAG": "1"}).functions["f"].image == "a:1"
    assert load_stack(str(file), environ={"TAG": "1"}, envsubst=False).functions["f"].image == "a:${TAG}"


def test_default_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """stack.yaml wins over stack.yml, and no file is an error that says what to do."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidStack) as caught:
        load_stack("", environ={})
    assert "hilbert new" in caught.value.hint
    Path("stack.yml").write_text("functions: {a: {}}")
    assert list(load_stack("", environ={}).functions) == ["a"]
    Path("stack.yaml").write_text("functions: {b: {}}")
    assert list(load_stack("", environ={}).functions) == ["b"]


@pytest.mark.parametrize(
    ("wildcard", "regex", "wanted"),
    [
        ("web-*", "", ["web-a", "web-b"]),
        ("*-a", "", ["web-a"]),
        ("", "b$", ["web-b"]),
        ("", "", ["web-a", "web-b", "x"]),
    ],
)
def test_filters(tmp_path: Path, wildcard: str, regex: str, wanted: list[str]) -> None:
    """A filter matches whole names, an expression any part."""
    file = tmp_path / "s.yaml"
    file.write_text("functions: {web-a: {}, web-b: {}, x: {}}")
    assert list(load_stack(str(file), filter=wildcard, regex=regex, environ={}).functions) == wanted


@pytest.mark.parametrize(
    ("wildcard", "regex", "message"),
    [("y*", "", "no functions matching"), ("a", "b", "not both"), ("", "(", "--regex (")],
)
def test_wrong_filters(tmp_path: Path, wildcard: str, regex: str, message: str) -> None:
    """No match, two kinds at once and a broken expression are refused."""
    file = tmp_path / "s.yaml"
    file.write_text("functions: {a: {}}")
    with pytest.raises(InvalidStack) as caught:
        load_stack(str(file), filter=wildcard, regex=regex, environ={})
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "stack.yaml:2: not YAML"),
        ("functions:\n\tb: 1", "stack.yaml:2: not YAML"),
        ("functions:\n  a b: {}", "stack.yaml:2: functions: 'a b' is not a name"),
        ("functions:\n  ../x: {}", "stack.yaml:2: functions: '../x' is not a name"),
        ("functions:\n  f:\n    secrets: s", "stack.yaml:3: functions.f.secrets: must be a list, not the text 's'"),
        ("functions:\n  f:\n    image: {}", "stack.yaml:3: functions.f.image: must be text, not a map"),
        (
            "functions:\n  f:\n    environment:\n      A:\n        - 1",
            "stack.yaml:5: functions.f.environment.A: must be text",
        ),
        ("functions:\n  f:\n    skip_build: maybe", "stack.yaml:3: functions.f.skip_build: must be true or false"),
        ("functions: [1]", "stack.yaml:1: functions: must be a map, not a list"),
        ("functions:\n  f: {}\n  f: {}", "stack.yaml:3: f appears twice, first in line 2"),
        ("- a", "the file: must be a map of keys, not a list"),
        ("a: &a [*a]", "stack.yaml:1: *a refers to an anchor"),
        ("[" * 100_000, "nested more than 32 deep"),
        ("- " * 100_000 + "x", "nested more than 32 deep"),
        ("x: !!python/object:os.system y", "the tag tag:yaml.org,2002:python/object:os.system is not supported"),
        ("a: 1\n---\nb: 2", "stack.yaml:2: a second document begins"),
        ("? [a]\n: b", "a key must be text"),
        ("version: 2.0", "version: only '1.0' is valid"),
        ("provider:\n  name: knative", "provider.name: only 'openfaas' is valid"),
        ('functions:\n  f:\n    image: "a\\0b"', "must not hold a NUL"),
        ("x: \x07", "not YAML"),
    ],
)
def test_wrong_files_name_line_and_key(text: str, message: str) -> None:
    """The message says where and what."""
    with pytest.raises(InvalidStack) as caught:
        parse_stack(text)
    assert message in caught.value.message


def test_aliases_cannot_grow_without_bound() -> None:
    """The billion laughs are cut short."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(InvalidStack, match="with aliases expanded"):
        parse_stack("\n".join(lines))


def test_merge_keys() -> None:
    """`<<` takes over what is not said, the first of several winning."""
    text = "x-a: &a {A: 1, B: 1}\nx-b: &b {B: 2, C: 2}\nfunctions:\n  f:\n    environment:\n      <<: [*a, *b]\n      A: 3\n"
    assert parse_stack(text).functions["f"].environment == {"A": "3", "B": "1", "C": "2"}


def test_unknown_keys_warn_with_the_nearest() -> None:
    """A slip of the pen is told; keys of others and of `x-` do no harm."""
    stack = parse_stack("x-common: 1\nfunctions:\n  f:\n    enviroment: {A: 1}\n")
    (warning,) = stack.warnings
    assert warning.startswith("stack.yaml:4: functions.f.enviroment is not known")
    assert warning.endswith("did you mean environment?")


def test_environment_files(tmp_path: Path) -> None:
    """Later files win; a wrong one is named."""
    (tmp_path / "one.yaml").write_text("environment:\n  A: 1\n  B: NO\n")
    (tmp_path / "two.yaml").write_text("environment:\n  B: 2.0\n")
    function = StackFunction(environment={"A": "0", "Z": "z"}, environment_file=("one.yaml", "two.yaml"))
    assert read_environment(function, folder=tmp_path) == {"A": "1", "B": "2.0", "Z": "z"}
    with pytest.raises(InvalidStack, match=r"cannot read .*three\.yaml: No such file"):
        read_environment(StackFunction(environment_file=("three.yaml",)), folder=tmp_path)


@pytest.mark.parametrize("kind", ["missing", "folder", "latin", "large"])
def test_unreadable_files(tmp_path: Path, kind: str) -> None:
    """What is no text file of sensible size is refused by name."""
    file = tmp_path / "s.yaml"
    if kind == "folder":
        file.mkdir()
    elif kind == "latin":
        file.write_bytes(b"a: 1\nb: \xe4")
    elif kind == "large":
        file.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(InvalidStack) as caught:
        load_stack(str(file), environ={})
    assert str(file) in caught.value.message


@pytest.fixture
def site() -> Iterator[str]:
    """A web server with a stack file, a redirect to a file of this machine, and one too large."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", "file:///etc/hostname")
                self.end_headers()
                return
            body = {"/ok": b"functions: {web: {image: x}}", "/big": b"#" * 2_000_000}.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_urls(site: str) -> None:
    """A stack file may come from the web; nothing else may, and not without bound."""
    assert load_stack(f"{site}/ok", environ={}).functions["web"].image == "x"
    for path, message in (("/away", "cannot read"), ("/big", "larger than"), ("/none", "Not Found")):
        with pytest.raises(InvalidStack) as caught:
            load_stack(site + path, environ={})
        assert message in caught.value.message


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
MAPS = st.dictionaries(TEXT.filter(lambda key: key != "<<"), TEXT, max_size=3)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
AMOUNTS = st.none() | st.builds(Amounts, memory=TEXT, cpu=TEXT)
FUNCTIONS = st.builds(
    StackFunction,
    lang=TEXT, handler=TEXT, image=TEXT, fprocess=TEXT, environment=MAPS, environment_file=TEXTS, secrets=TEXTS,
    skip_build=st.booleans(), constraints=TEXTS, labels=MAPS, annotations=MAPS, limits=AMOUNTS, requests=AMOUNTS,
    readonly_root_filesystem=st.booleans(), build_options=TEXTS, build_args=MAPS, build_secrets=MAPS, platforms=TEXT,
    namespace=TEXT,
)  # fmt: skip
DOCUMENTS = st.builds(
    Document,
    version=st.sampled_from(["", "1.0"]),
    provider=st.builds(Provider, name=st.sampled_from(["", "openfaas"]), gateway=TEXT),
    functions=st.dictionaries(st.from_regex(r"[a-z]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True), FUNCTIONS, max_size=2),
    configuration=st.builds(
        Configuration,
        templates=st.lists(st.builds(TemplateSource, name=TEXT, source=TEXT), max_size=2).map(tuple),
        copy=TEXTS,
    ),
)


@example(Document(provider=Provider(name="openfaas", gateway="\x85"), functions={}))
@given(DOCUMENTS)
def test_what_is_accepted_round_trips(document: Document) -> None:
    """Written out and read again, a stack is the same."""
    again = parse_stack(dump_stack(document))
    assert again.functions == document.functions
    assert again.provider == document.provider
    assert again.configuration == document.configuration
    assert again.version == document.version
    assert again.warnings == ()
    assert parse_stack(dump_stack(again)) == again


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No input ends in anything but a stack or `InvalidStack`."""
    try:
        stack = parse_stack(text)
    except InvalidStack:
        return
    assert parse_stack(dump_stack(stack)).functions == stack.functions
