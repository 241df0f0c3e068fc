"""Bundle or image: what the gateway's provider runs, unless flags say."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import CommandLine, Gateway, Reply, scripted
from support.platform import running
from support.zygote import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    found = Zygote()
    yield found
    found.close()


@pytest.fixture
def here(zygote: Zygote) -> Iterator[tuple[Gateway, CommandLine]]:
    """A function, a gateway, and no program that builds images."""
    with scripted(zygote) as (gateway, line):
        tools = line.folder / "tools"
        tools.mkdir()
        for name in ("bash", "cat", "dirname"):
            (tools / name).symlink_to(
                next(Path(folder) / name for folder in ("/bin", "/usr/bin") if (Path(folder) / name).exists())
            )
        line.environ["PATH"] = f"{Path(sys.executable).parent}:{tools}"
        assert line.run("new", "f", "--lang", "bash", "-q").status == 0
        yield gateway, line


def provider(gateway: Gateway, name: str) -> None:
    document = {"provider": {"provider": f"hilbert-{name}", "orchestration": name, "version": {}}, "version": {}}
    gateway.script["GET", "/system/info"] = [
        Reply(200, json.dumps(document).encode(), {"Content-Type": "application/json"})
    ]


def test_processes_run_bundles(here: tuple[Gateway, CommandLine]) -> None:
    """The output says which was built."""
    gateway, line = here
    provider(gateway, "process")
    result = line.run("build")
    assert (result.status, result.err) == (0, "")
    assert "bundle f:latest sha256:" in result.out
    provider(gateway, "process")
    assert f"Building bundles: {gateway.url} runs functions as processes." in line.run_at_terminal("build").out


@pytest.mark.parametrize("name", ["kubernetes", "containerd"])
def test_others_run_images(here: tuple[Gateway, CommandLine], name: str) -> None:
    """Which needs a builder; a bundle is the way without one."""
    gateway, line = here
    provider(gateway, name)
    result = line.run("build")
    assert result.status == 1
    assert "no program that builds container images works here" in result.err
    assert "--bundle" in result.err
    assert line.run("build", "--bundle").status == 0


def test_flags_win(here: tuple[Gateway, CommandLine]) -> None:
    """A bundle without asking the gateway, an image whatever it answers."""
    gateway, line = here
    assert line.run("build", "--bundle").status == 0
    assert not [call for call in gateway.calls if call.path == "/system/info"]
    gateway.password = "another"
    assert "no program that builds container images" in line.run("build", "--image-build").err


def test_what_makes_no_bundle_becomes_an_image(here: tuple[Gateway, CommandLine]) -> None:
    """Where this machine runs it; a flag that asks for a bundle is not overruled."""
    gateway, line = here
    assert line.run("new", "d", "--lang", "dockerfile", "-q", "--append", "stack.yaml").status == 0
    for _ in range(2):
        provider(gateway, "process")
    result = line.run("build")
    assert "f:latest sha256:" in result.out
    assert "no program that builds container images works here" in result.err
    assert "says only how to build a container image, not a bundle" in line.run("build", "--bundle").err


def test_a_gateway_that_refuses(here: tuple[Gateway, CommandLine]) -> None:
    """No guess is made over a wrong password."""
    gateway, line = here
    gateway.password = "another"
    result = line.run("build")
    assert result.status == 1
    assert "login" in result.err


def test_what_has_no_effect_is_said(here: tuple[Gateway, CommandLine]) -> None:
    """Settings of container images, on a bundle."""
    _, line = here
    with (line.folder / "stack.yaml").open("a") as stack:
        stack.write("    platforms: linux/arm64\n    build_options: [curl]\n")
    result = line.run("build", "--bundle")
    assert result.status == 0
    assert "warning: f: build_options has no effect on bundles, only on container images" in result.err
    assert "warning: f: platforms has no effect on bundles, only on container images" in result.err


def test_tags_agree_between_build_and_deployment() -> None:
    """`up --tag digest` deploys what it built, and a change of the handler changes the tag."""
    with running() as platform:
        platform.hilbert("new", "f", "--lang", "bash", "-q")
        images = set()
        for word in ("Hello", "Bye"):
            handler = platform.folder / "f" / "handler.sh"
            handler.write_text(handler.read_text().replace("Hello", word))
            platform.hilbert("up", "--tag", "digest", "--skip-tests")
            assert platform.call("/function/f", b"Ada").text == f"{word}, Ada!\n"
            images.add(json.loads(platform.hilbert("describe", "f", "--output", "json").stdout)["image"])
        assert len(images) == 2
        assert all(len(image.removeprefix("f:")) == 32 for image in images)
