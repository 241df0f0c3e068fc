"""Registries and names that strangers choose: nothing of another namespace is had, no address inside is reached, no lie is believed.

Known from CVE-2014-9356 (Docker), CVE-2020-15157 and CVE-2026-50195 (containerd).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from hilbert.core.errors import ImageUnavailable
from hilbert.core.settings import ImageSettings
from hilbert.core.values import Duration
from hilbert.images import jobs
from hilbert.images.model import Credentials, Login, PullPolicy
from hilbert.images.source import Failed
from hilbert.images.store import JOBS, NAMESPACE_JOBS, OciStore
from hilbert.images.web import _allowed
from support.images import Image, file, layer, load
from support.registries import PASSWORD, USER, Answer, Registry, Served, Stub, have_registry, registry

AUTO = PullPolicy.AUTO


@pytest.fixture(scope="module")
def private() -> Iterator[Registry]:
    if not have_registry:
        pytest.skip("docker-registry is not installed")
    with registry(passwords=True) as made:
        yield made


def settings(*hosts: str) -> ImageSettings:
    return ImageSettings(insecure_registries=",".join(hosts), access_time=Duration.of(3600))


def logins(made: Registry) -> Credentials:
    return Credentials(logins={made.host: Login(username=USER, password=PASSWORD)})


def served(text: bytes = b"x") -> Image:
    return Image(layer(file("app", text)))


async def test_an_image_here_is_not_had_by_those_who_could_not_pull_it(private: Registry, tmp_path: Path) -> None:
    name = private.push(served(b"secret"), "theirs/app", "1")
    store = OciStore(tmp_path, settings(private.host))
    mine = await store.ensure(name, "mine", policy=AUTO, credentials=logins(private))
    for asked in (name, f"{name}@{mine.digest}", f"{private.host}/theirs/app@{mine.digest}"):
        assert store.find(asked, "other") is None
        for policy in (AUTO, PullPolicy.IF_NOT_PRESENT, PullPolicy.ALWAYS, PullPolicy.NEVER):
            with pytest.raises(ImageUnavailable) as caught:
                await store.ensure(asked, "other", policy=policy)
            assert "mine" not in str(caught.value)


async def test_an_image_here_is_had_by_those_who_could_and_for_a_time(private: Registry, tmp_path: Path) -> None:
    name = private.push(served(b"both"), "both/app", "1")
    now = [datetime.now(UTC)]
    store = OciStore(tmp_path, settings(private.host), now=lambda: now[0])
    first = await store.ensure(name, "one", policy=AUTO, credentials=logins(private))
    second = await store.ensure(name, "two", policy=AUTO, credentials=logins(private))
    assert second.root == first.root
    assert store.find(name, "two") is not None
    now[0] += timedelta(hours=2)
    assert store.find(name, "one") is not None, "it is its own"
    assert store.find(name, "two") is None
    with pytest.raises(ImageUnavailable, match="or shows it only"):
        await store.ensure(name, "two", policy=AUTO)
    now[0] = datetime.now(UTC)
    assert store.find(name, "two") is None, "the registry has said no"


async def test_an_image_here_is_not_had_by_naming_its_parts_in_another_registry(
    private: Registry, tmp_path: Path
) -> None:
    """A registry of the attacker's says that it has the other's layer, and sends none of it."""
    theirs = served(b"secret layer")
    name = private.push(theirs, "theirs/layers", "1")
    (digest,) = (one["digest"] for one in theirs.manifest["layers"])
    image = served()
    image.manifest, image.config = theirs.manifest, theirs.config
    image.blobs = {theirs.manifest["config"]["digest"]: theirs.config}

    def claim(method: str, path: str, headers: Mapping[str, str]) -> Answer | None:
        if digest not in path:
            return None
        return (416, {}, b"") if "range" in headers else (200, {}, b"")

    with Served(image, change=claim) as stub:
        store = OciStore(tmp_path, settings(private.host, stub.host))
        await store.ensure(name, "theirs", policy=AUTO, credentials=logins(private))
        with pytest.raises(ImageUnavailable):
            await store.ensure(stub.name, "mine", policy=AUTO)
        assert store.find(stub.name, "mine") is None


async def test_an_image_here_is_not_had_by_a_digest_that_a_registry_merely_claims(
    private: Registry, tmp_path: Path
) -> None:
    theirs = served(b"by claim")
    name = private.push(theirs, "theirs/claimed", "1")
    claim = {"Docker-Content-Digest": theirs.digest}
    with Stub(lambda method, path, _: (200, claim, b"") if method == "HEAD" else (404, {}, b"")) as stub:
        store = OciStore(tmp_path, settings(private.host, stub.host))
        await store.ensure(name, "theirs", policy=AUTO, credentials=logins(private))
        with pytest.raises(ImageUnavailable):
            await store.ensure(f"{stub.host}/repo:1", "mine", policy=AUTO)


async def test_an_image_here_that_was_loaded_belongs_to_its_namespace_or_to_all(tmp_path: Path) -> None:
    store = OciStore(tmp_path / "oci")
    await load(store, tmp_path, served(b"own"), "own:1", "dev")
    await store.load(served(b"all").write_layout(tmp_path / "all", "all:1"), "")
    assert store.find("own:1", "other") is None
    assert store.find("all:1", "other") is not None
    await load(store, tmp_path, served(b"mine"), "all:1", "dev")
    mine, others = store.find("all:1", "dev"), store.find("all:1", "other")
    assert mine is not None
    assert others is not None
    assert (mine.root / "app").read_bytes() == b"mine"
    assert (others.root / "app").read_bytes() == b"all"


async def test_an_image_here_is_gone_with_its_namespace(tmp_path: Path) -> None:
    store = OciStore(tmp_path / "oci")
    await load(store, tmp_path, served(), "own:1", "dev")
    store.forget("dev")
    assert store.find("own:1", "dev") is None
    assert store.prune(older_than=0).images == 1


@pytest.mark.parametrize(
    "name", ["127.0.0.1:1/x", "localhost:1/x", "169.254.169.254/x", "[::1]:1/x", "10.0.0.1/x", "0.0.0.0:1/x"]
)
async def test_addresses_inside_are_not_reached(name: str, tmp_path: Path) -> None:
    with pytest.raises(ImageUnavailable, match="belongs to a private network") as caught:
        await OciStore(tmp_path).ensure(name, "dev", policy=AUTO)
    assert "images.private_registries" in caught.value.hint


async def test_plain_http_is_for_registries_that_are_listed(tmp_path: Path) -> None:
    with Served(served()) as stub:
        store = OciStore(tmp_path, ImageSettings(private_registries=stub.host))
        with pytest.raises(ImageUnavailable, match="cannot be reached: TLS failed"):
            await store.ensure(stub.name, "dev", policy=AUTO)
        assert not stub.asked


async def test_a_login_goes_nowhere_else(tmp_path: Path) -> None:
    """Layers are often elsewhere. There, the registry's password is nobody's business."""
    image = served(b"elsewhere")
    with Served(image) as storage:

        def send_on(method: str, path: str, headers: Mapping[str, str]) -> Answer | None:
            if "authorization" not in headers:
                return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
            return (307, {"Location": f"http://{storage.host}{path}"}, b"") if "/blobs/" in path else None

        with Served(image, change=send_on) as stub:
            store = OciStore(tmp_path, settings(stub.host))
            credentials = Credentials(logins={stub.host: Login(username=USER, password=PASSWORD)})
            found = await store.ensure(stub.name, "dev", policy=AUTO, credentials=credentials)
            assert (found.root / "app").read_bytes() == b"elsewhere"
    assert storage.asked
    assert not any("authorization" in headers for _, _, headers in storage.asked)


async def test_a_login_does_not_go_where_a_layer_s_host_wants_it(tmp_path: Path) -> None:
    """CVE-2020-15157: whoever a registry sends us on to asks for a login in its turn, and says where to bring it."""
    image = served(b"elsewhere")

    def want(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        if path.startswith("/token"):
            return 200, {}, b'{"token": "t"}'
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{thief.host}/token",service="x"'}, b""

    with Stub(want) as thief:

        def send_on(method: str, path: str, headers: Mapping[str, str]) -> Answer | None:
            return (307, {"Location": f"http://{thief.host}{path}"}, b"") if "/blobs/" in path else None

        with Served(image, change=send_on) as stub:
            store = OciStore(tmp_path, settings(stub.host, thief.host))
            credentials = Credentials(logins={stub.host: Login(username=USER, password=PASSWORD)})
            with pytest.raises(ImageUnavailable):
                await store.ensure(stub.name, "dev", policy=AUTO, credentials=credentials)
    assert thief.asked
    assert not any("authorization" in headers or "/token" in path for _, path, headers in thief.asked)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_login_does_not_follow_a_token_server_s_redirect(status: int, tmp_path: Path) -> None:
    """An identity token stands in a body."""
    with Stub(lambda *_: (200, {}, b'{"token": "t"}')) as thief:

        def answer(method: str, path: str, headers: Mapping[str, str]) -> Answer:
            if path.startswith("/token"):
                return status, {"Location": f"http://{thief.host}/token"}, b""
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{stub.host}/token",service="x"'}, b""

        with Stub(answer) as stub:
            credentials = Credentials(logins={stub.host: Login(username=USER, password="", identity_token=PASSWORD)})
            with pytest.raises(ImageUnavailable, match="to another host"):
                await OciStore(tmp_path, settings(stub.host)).ensure(
                    f"{stub.host}/repo:1", "dev", policy=AUTO, credentials=credentials
                )
    assert not thief.asked


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "100.100.100.200", "fd00:ec2::254", "168.63.129.16"],
)
async def test_a_registry_that_is_listed_leads_to_no_metadata_service(host: str) -> None:
    """An administrator lets it be on a private network; it may not send the platform where a cloud keeps credentials.

    Nobody is asked in this test: what may be connected to is worked out before.
    """
    with pytest.raises(Failed, match="connecting to"):
        await _allowed(host, 443, listed=True)
    assert await _allowed("127.0.0.1", 443, listed=True) == ["127.0.0.1"]
    assert await _allowed("10.1.2.3", 443, listed=True) == ["10.1.2.3"]


@pytest.mark.bound("image-redirects")
async def test_being_sent_round_and_round(tmp_path: Path) -> None:
    with Stub(lambda _, path, __: (307, {"Location": path + "x"}, b"")) as stub:
        store = OciStore(tmp_path, settings(stub.host))
        with pytest.raises(ImageUnavailable, match="more than 5 times"):
            await store.ensure(f"{stub.host}/repo:1", "dev", policy=AUTO)


LIES = {
    "another layer": lambda image: (200, {}, b"y" * image.manifest["layers"][0]["size"]),
    "a layer that is too long": lambda image: (200, {}, b"y" * (image.manifest["layers"][0]["size"] + 1)),
    "a layer that is too short": lambda image: (200, {}, b"y"),
    "a layer that is cut": lambda image: (200, {"Content-Length": "100000"}, b"y"),
    "no layer": lambda image: (404, {}, b""),
    "a failure": lambda image: (500, {}, b"secret inside"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_lies_about_layers(lie: str, tmp_path: Path) -> None:
    image = served(b"z" * 1000)
    (digest,) = (one["digest"] for one in image.manifest["layers"])
    with Served(image, change=lambda _, path, __: LIES[lie](image) if digest in path else None) as stub:
        store = OciStore(tmp_path, settings(stub.host))
        with pytest.raises(ImageUnavailable, match="layer") as caught:
            await store.ensure(stub.name, "dev", policy=AUTO)
    assert "secret inside" not in str(caught.value)
    assert store.find(stub.name, "dev") is None
    assert not os.listdir(store.layout.path / "blobs") or digest[7:] not in os.listdir(store.layout.path / "blobs")


MANIFESTS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"<html>login page</html>",
    "deep": b'{"schemaVersion":2,"config":' + b"[" * 100_000,
    "larger than any": b'{"schemaVersion":2,"x":"' + b"x" * (5 << 20) + b'"}',
    "old": json.dumps({"schemaVersion": 1, "fsLayers": []}).encode(),
    "a chart": json.dumps(
        {
            "schemaVersion": 2,
            "config": {
                "mediaType": "application/vnd.cncf.helm.config.v1+json",
                "digest": "sha256:" + "0" * 64,
                "size": 2,
            },
            "layers": [],
        }
    ).encode(),
    "an index of itself": json.dumps(
        {"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 2}]}
    ).encode(),
    "wrong types": json.dumps({"schemaVersion": 2, "config": 7, "layers": "x"}).encode(),
}


@pytest.mark.bound("image-document")
@pytest.mark.parametrize("name", MANIFESTS)
async def test_manifests_that_are_none(name: str, tmp_path: Path) -> None:
    with Stub(lambda *_: (200, {}, MANIFESTS[name])) as stub:
        store = OciStore(tmp_path, settings(stub.host))
        with pytest.raises(ImageUnavailable, match=r"manifest|image|longer"):
            await store.ensure(f"{stub.host}/repo:1", "dev", policy=AUTO)


CHALLENGES = {
    "no realm": "Bearer",
    "a realm that is no address": 'Bearer realm="http://[",service="x"',
    "a file": 'Bearer realm="file:///etc/passwd"',
    "cut": 'Bearer realm="',
    "long": "Bearer " + ",".join(f'a{n}="x"' for n in range(2000)),
    "unknown": "Negotiate",
}


@pytest.mark.parametrize("name", CHALLENGES)
async def test_challenges_that_are_none(name: str, tmp_path: Path) -> None:
    with Stub(lambda *_: (401, {"WWW-Authenticate": CHALLENGES[name]}, b"")) as stub:
        store = OciStore(tmp_path, settings(stub.host))
        with pytest.raises(ImageUnavailable):
            await store.ensure(f"{stub.host}/repo:1", "dev", policy=AUTO)


@pytest.mark.bound("image-token")
@pytest.mark.parametrize(
    "token", [b'{"token":"a\\r\\nX-Evil: 1"}', b"{}", b"[]", b'{"token":"' + b"x" * 400_000 + b'"}']
)
async def test_tokens_that_are_none(token: bytes, tmp_path: Path) -> None:
    def answer(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        if path.startswith("/token"):
            return 200, {}, token
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{stub.host}/token",service="x"'}, b""

    with Stub(answer) as stub:
        with pytest.raises(ImageUnavailable, match="asking for a token"):
            await OciStore(tmp_path, settings(stub.host)).ensure(f"{stub.host}/repo:1", "dev", policy=AUTO)
        assert not any("x-evil" in headers for _, _, headers in stub.asked)


async def test_a_layer_that_breaks_off_is_continued(tmp_path: Path) -> None:
    image = Image(layer(file("app", os.urandom(300_000))), packing="")
    (digest,) = (one["digest"] for one in image.manifest["layers"])
    blob = image.blobs[digest]

    def break_off(method: str, path: str, headers: Mapping[str, str]) -> Answer | None:
        if digest not in path or "range" in headers:
            return None
        return 200, {"Content-Length": str(len(blob))}, blob[:200_000]

    with Served(image, change=break_off) as stub:
        found = await OciStore(tmp_path, settings(stub.host)).ensure(stub.name, "dev", policy=AUTO)
        begins = [headers["range"] for _, path, headers in stub.asked if digest in path and "range" in headers]
    assert (found.root / "app").stat().st_size == 300_000
    assert begins
    assert all(int(begin.removeprefix("bytes=").rstrip("-")) > 0 for begin in begins)


async def test_a_fetch_that_nobody_waits_for_any_more_ends(tmp_path: Path) -> None:
    """And leaves nothing that counts. The next goes on."""
    image = served()
    (digest,) = (one["digest"] for one in image.manifest["layers"])
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(method: str, path: str, headers: Mapping[str, str]) -> Answer | None:
        if digest not in path:
            return None
        loop.call_soon_threadsafe(asked.set)
        return 200, {"Content-Length": "1000000"}, b""

    with Served(image, change=hang) as stub:
        store = OciStore(tmp_path, settings(stub.host))
        waiting = asyncio.ensure_future(store.ensure(stub.name, "dev", policy=AUTO))
        await asked.wait()
        await store.close()
        with pytest.raises((asyncio.CancelledError, ImageUnavailable)):
            await waiting
        assert store.find(stub.name, "dev") is None
        assert store.prune(older_than=0).images == 0


@pytest.mark.bound("image-time")
async def test_a_registry_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LONGEST", 1.0)
    image = served()
    (digest,) = (one["digest"] for one in image.manifest["layers"])
    hang: Answer = (200, {"Content-Length": "1000000"}, b"")
    with Served(image, change=lambda _, path, __: hang if digest in path else None) as stub:
        store = OciStore(tmp_path, settings(stub.host))
        with pytest.raises(ImageUnavailable, match="took more than 1 s"):
            await store.ensure(stub.name, "dev", policy=AUTO)


@pytest.mark.bound("image-fetches", "image-namespace-fetches")
async def test_a_namespace_that_fetches_much_leaves_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[str] = []
    go = asyncio.Event()

    async def fetch(job: jobs.Job, progress: object) -> Sequence[jobs.Brought]:
        running.append(job.namespace)
        await go.wait()
        raise Failed("fetching", "as the test wants it")

    monkeypatch.setattr(jobs, "run", fetch)
    store = OciStore(tmp_path)
    wanted = [(f"r.io/fn:{number}", f"ns{namespace}") for namespace in range(8) for number in range(5)]
    calls = [asyncio.ensure_future(store.ensure(image, namespace, policy=AUTO)) for image, namespace in wanted]
    while len(running) < JOBS:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(running) == JOBS
    assert max(running.count(namespace) for namespace in running) <= NAMESPACE_JOBS
    go.set()
    assert all(isinstance(one, ImageUnavailable) for one in await asyncio.gather(*calls, return_exceptions=True))
    assert len(running) == len(wanted)


async def test_a_fetch_that_is_killed_is_begun_again(tmp_path: Path) -> None:
    """One layer has come and is unpacked, the other has not."""
    image = Image(layer(file("first", b"1" * 1000)), layer(file("second", b"2" * 1000)))
    last = image.manifest["layers"][1]["digest"]
    hanging = [True]

    def hang(method: str, path: str, headers: Mapping[str, str]) -> Answer | None:
        return (200, {"Content-Length": "1000000"}, b"") if last in path and hanging[0] else None

    with Served(image, change=hang) as stub:
        store = OciStore(tmp_path, settings(stub.host))
        waiting = asyncio.ensure_future(store.ensure(stub.name, "dev", policy=AUTO))
        layers = tmp_path / "layers"
        while not (layers.is_dir() and os.listdir(layers)):
            await asyncio.sleep(0.01)
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):  # Others end meanwhile.
                if "hilbert.images.worker" in child.cmdline():
                    child.kill()
        with pytest.raises(ImageUnavailable, match="ended unexpectedly"):
            await waiting
        assert store.find(stub.name, "dev") is None
        hanging[0] = False
        found = await store.ensure(stub.name, "dev", policy=AUTO)
    assert (found.root / "second").stat().st_size == 1000
    assert not os.listdir(tmp_path / "tmp")
