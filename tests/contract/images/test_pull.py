"""Images are pulled from real registries: open ones, with passwords, with tokens, over TLS, by tag and by digest."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.core.errors import ImageUnavailable
from hilbert.core.settings import ImageSettings
from hilbert.images.model import Credentials, Login, PullPolicy, Step
from hilbert.images.store import OciStore
from support.images import ARCHITECTURE, Image, digest_of, file, folder, index_of, layer, put
from support.registries import PASSWORD, USER, Registry, TokenServer, basic, have_registry, registry

pytestmark = pytest.mark.skipif(not have_registry, reason="docker-registry is not installed")
AUTO = PullPolicy.AUTO
ANN = Login(username=USER, password=PASSWORD)


@pytest.fixture(scope="module")
def open_registry() -> Iterator[Registry]:
    with registry() as made:
        yield made


@pytest.fixture(scope="module")
def closed_registry() -> Iterator[Registry]:
    with registry(passwords=True, tls=True) as made:
        yield made


@pytest.fixture(scope="module")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    with TokenServer(tmp_path_factory.mktemp("tokens")) as made:
        yield made


@pytest.fixture(scope="module")
def token_registry(token_server: TokenServer) -> Iterator[Registry]:
    with registry(realm=token_server.realm, bundle=token_server.bundle) as made:

        def headers(repository: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {token_server.token(repository, 'pull', 'push')}"}

        yield Registry(made.host, pull=headers)


def some_image(text: bytes = b"hello", **more: object) -> Image:
    return Image(layer(folder("bin"), file("bin/app", text, mode=0o755)), layer(file("etc/a", b"a")), **more)


def insecure(*registries: Registry, **more: object) -> ImageSettings:
    return ImageSettings(insecure_registries=",".join(one.host for one in registries), **more)


async def test_by_tag_then_by_digest_then_from_here(open_registry: Registry, tmp_path: Path) -> None:
    image = some_image(b"by tag")
    name = open_registry.push(image, "team/by-tag", "1.0")
    store = OciStore(tmp_path, insecure(open_registry))
    steps: list[Step] = []
    found = await store.ensure(name, "dev", policy=AUTO, progress=steps.append)
    assert (found.name, found.digest) == (name, image.digest)
    assert (found.root / "bin/app").read_bytes() == b"by tag"
    assert {step.phase for step in steps} >= {"resolving", "done"}
    assert (steps[-1].done, steps[-1].layers) == (steps[-1].total, 2)
    assert store.find(f"{open_registry.host}/team/by-tag@{image.digest}", "dev") is not None
    again = await store.ensure(f"{name}@{image.digest}", "dev", policy=PullPolicy.ALWAYS)
    assert again.root == found.root


@pytest.mark.parametrize("packing", ["+gzip", "+zstd", ""])
@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
async def test_manifests_and_packings_of_both_kinds(
    packing: str, docker: bool, open_registry: Registry, tmp_path: Path
) -> None:
    if docker and packing == "+zstd":
        packing = "+gzip"
    name = open_registry.push(some_image(packing=packing, docker=docker), f"kinds/{docker}{packing[1:]}".lower(), "1")
    found = await OciStore(tmp_path, insecure(open_registry)).ensure(name, "dev", policy=AUTO)
    assert (found.root / "etc/a").read_bytes() == b"a"


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
async def test_of_an_index_comes_what_this_machine_runs(docker: bool, open_registry: Registry, tmp_path: Path) -> None:
    ours = some_image(b"ours", docker=docker)
    other = some_image(b"other", architecture="s390x", docker=docker)
    document, kind = index_of(
        (other, {"os": "linux", "architecture": "s390x"}),
        (ours, {"os": "linux", "architecture": ARCHITECTURE}),
        docker=docker,
    )
    repository = f"many/{docker}".lower()
    for image in (other, ours):
        open_registry.push(image, repository, image.digest)
    put(f"{open_registry.url}/v2/{repository}/manifests/1", document, {"Content-Type": kind})
    store = OciStore(tmp_path, insecure(open_registry))
    name = f"{open_registry.host}/{repository}"
    found = await store.ensure(f"{name}:1", "dev", policy=AUTO)
    assert (found.root / "bin/app").read_bytes() == b"ours"
    for digest in (ours.digest, digest_of(document)):
        assert store.find(f"{name}@{digest}", "dev") is not None
    with pytest.raises(ImageUnavailable, match="s390x"):
        await store.ensure(f"{name}@{other.digest}", "dev", policy=AUTO)
    document, kind = index_of((other, {"os": "linux", "architecture": "s390x"}), docker=docker)
    put(f"{open_registry.url}/v2/{repository}/manifests/2", document, {"Content-Type": kind})
    with pytest.raises(ImageUnavailable, match="it is for linux/s390x, and this machine is linux/"):
        await store.ensure(f"{name}:2", "dev", policy=AUTO)


async def test_layers_are_on_the_disk_once(open_registry: Registry, tmp_path: Path) -> None:
    base = layer(file("base", b"x" * 100_000))
    store = OciStore(tmp_path, insecure(open_registry))
    roots = []
    for number in range(3):
        name = open_registry.push(Image(base, layer(file(f"own{number}"))), "shared", str(number))
        roots.append((await store.ensure(name, "dev", policy=AUTO)).root)
    assert len({(root / "base").stat().st_ino for root in roots}) == 1
    assert len(os.listdir(store.layout.path / "layers")) == 4


async def test_many_who_want_one_image_share_one_fetch(open_registry: Registry, tmp_path: Path) -> None:
    name = open_registry.push(some_image(b"shared fetch"), "at-once", "1")
    store = OciStore(tmp_path, insecure(open_registry))
    told: list[list[Step]] = [[] for _ in range(5)]
    calls = [store.ensure(name, "dev", policy=AUTO, progress=steps.append) for steps in told]
    found = await asyncio.gather(*calls)
    assert len({image.root for image in found}) == 1
    assert all(steps == told[0] for steps in told)


@pytest.mark.parametrize(
    ("tag", "policy", "again"),
    [
        ("latest", PullPolicy.AUTO, True),
        ("1", PullPolicy.AUTO, False),
        ("1", PullPolicy.ALWAYS, True),
        ("latest", PullPolicy.IF_NOT_PRESENT, False),
        ("latest", PullPolicy.NEVER, False),
    ],
)
async def test_pull_policies(
    tag: str, policy: PullPolicy, again: bool, open_registry: Registry, tmp_path: Path
) -> None:
    repository = f"policy/{policy.value}-{tag}".lower()
    name = open_registry.push(some_image(b"old"), repository, tag)
    store = OciStore(tmp_path, insecure(open_registry))
    if policy is PullPolicy.NEVER:
        with pytest.raises(ImageUnavailable, match="policy is Never"):
            await store.ensure(name, "dev", policy=policy)
    await store.ensure(name, "dev", policy=PullPolicy.IF_NOT_PRESENT)
    open_registry.push(some_image(b"new"), repository, tag)
    found = await store.ensure(name, "dev", policy=policy)
    assert (found.root / "bin/app").read_bytes() == (b"new" if again else b"old")


async def test_a_password_over_tls(closed_registry: Registry, tmp_path: Path) -> None:
    name = closed_registry.push(some_image(b"closed"), "closed/app", "1")
    settings = ImageSettings(private_registries=closed_registry.host, ca_file=str(closed_registry.ca_file))
    store = OciStore(tmp_path, settings)
    with pytest.raises(ImageUnavailable, match="or shows it only to those who log in") as caught:
        await store.ensure(name, "dev", policy=AUTO)
    assert "com.hilbert.pull-secret" in caught.value.hint
    wrong = Credentials(logins={closed_registry.host: Login(username=USER, password="wrong")})
    with pytest.raises(ImageUnavailable, match=f"does not let {USER} pull closed/app"):
        await store.ensure(name, "dev", policy=AUTO, credentials=wrong)
    found = await store.ensure(name, "dev", policy=AUTO, credentials=Credentials(logins={closed_registry.host: ANN}))
    assert (found.root / "bin/app").read_bytes() == b"closed"


async def test_the_installations_own_logins(closed_registry: Registry, tmp_path: Path) -> None:
    name = closed_registry.push(some_image(b"closed"), "closed/ours", "1")
    logins = tmp_path / "config.json"
    auth = basic()["Authorization"].removeprefix("Basic ")
    logins.write_text(f'{{"auths": {{"https://{closed_registry.host}": {{"auth": "{auth}"}}}}}}')
    settings = ImageSettings(credentials=str(logins), ca_file=str(closed_registry.ca_file))
    found = await OciStore(tmp_path / "oci", settings).ensure(name, "dev", policy=AUTO)
    assert (found.root / "bin/app").read_bytes() == b"closed"


async def test_a_certificate_that_nobody_trusts(closed_registry: Registry, tmp_path: Path) -> None:
    store = OciStore(tmp_path, ImageSettings(private_registries=closed_registry.host))
    with pytest.raises(ImageUnavailable, match="certificate is not trusted") as caught:
        await store.ensure(f"{closed_registry.host}/closed/app:1", "dev", policy=AUTO)
    assert "images.ca_file" in caught.value.hint


async def test_tokens(token_registry: Registry, token_server: TokenServer, tmp_path: Path) -> None:
    public = token_registry.push(some_image(b"public"), "public/app", "1")
    private = token_registry.push(some_image(b"private"), "private/app", "1")
    store = OciStore(tmp_path, ImageSettings(insecure_registries=f"{token_registry.host},{token_server.host}"))
    found = await store.ensure(public, "dev", policy=AUTO)
    assert (found.root / "bin/app").read_bytes() == b"public"
    with pytest.raises(ImageUnavailable, match="or shows it only to those who log in"):
        await store.ensure(private, "dev", policy=AUTO)
    for login in (ANN, Login(identity_token="refreshing")):
        credentials = Credentials(logins={token_registry.host: login})
        other = OciStore(tmp_path / f"of{login.username}", insecure(token_registry))
        found = await other.ensure(private, "dev", policy=AUTO, credentials=credentials)
        assert (found.root / "bin/app").read_bytes() == b"private"
    wrong = Credentials(logins={token_registry.host: Login(username=USER, password="wrong")})
    with pytest.raises(ImageUnavailable, match=f"does not let {USER} pull"):
        await store.ensure(private, "dev", policy=AUTO, credentials=wrong)


async def test_what_is_not_there_and_who_is_not_there(open_registry: Registry, tmp_path: Path) -> None:
    open_registry.push(some_image(), "there", "1")
    store = OciStore(tmp_path, ImageSettings(insecure_registries=f"{open_registry.host},127.0.0.1:1"))
    for name in (f"{open_registry.host}/none:1", f"{open_registry.host}/there:2"):
        with pytest.raises(ImageUnavailable, match="has no such image") as caught:
            await store.ensure(name, "dev", policy=AUTO)
        assert "tag" in caught.value.hint
    with pytest.raises(ImageUnavailable, match="cannot be reached"):
        await store.ensure("127.0.0.1:1/x:1", "dev", policy=AUTO)
    with pytest.raises(ImageUnavailable, match="there is no such host"):
        await store.ensure("no-such-host.invalid/x:1", "dev", policy=AUTO)


async def test_a_mirror_is_asked_first_and_the_registry_when_it_has_nothing(
    open_registry: Registry, tmp_path: Path
) -> None:
    open_registry.push(some_image(b"mirrored"), "hub/library/tiny", "1")
    elsewhere = open_registry.push(some_image(b"own"), "own", "1")
    with registry() as empty:
        mirrors = f"docker.io={open_registry.host}/hub,{open_registry.host}={empty.host}/x"
        store = OciStore(tmp_path, insecure(open_registry, empty, mirrors=mirrors))
        found = await store.ensure("tiny:1", "dev", policy=AUTO)
        assert (found.root / "bin/app").read_bytes() == b"mirrored"
        found = await store.ensure(elsewhere, "dev", policy=AUTO)
        assert (found.root / "bin/app").read_bytes() == b"own"


async def test_what_is_here_is_used_while_the_registry_is_away(tmp_path: Path) -> None:
    with registry() as made:
        name = made.push(some_image(b"kept"), "kept", "latest")
        store = OciStore(tmp_path, insecure(made))
        await store.ensure(name, "dev", policy=AUTO)
    found = await store.ensure(name, "dev", policy=AUTO)
    assert (found.root / "bin/app").read_bytes() == b"kept"
    with pytest.raises(ImageUnavailable, match="cannot be reached"):
        await store.ensure(name, "dev", policy=PullPolicy.ALWAYS)
