"""Container images, built for real with buildah and podman, pushed to and pulled from a registry on loopback."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.builder.build_errors import BuildFailed, InvalidHandler
from hilbert.builder.build_request import BuildRequest
from hilbert.builder.container import ImageFlags, build_image, find_builder, publish_image, push_image
from hilbert.builder.image_store import Store
from hilbert.builder.layout import lay_out_image
from hilbert.builder.local_images import keep_image
from hilbert.builder.programs import Job
from hilbert.builder.templates import find_template, packages_for
from hilbert.core.bundle import Manifest, Mode
from hilbert.images.store import OciStore
from support.build import Project, write
from support.cli import Gateway, Reply
from support.containers import Containers, containers, missing_tools, python_root, tiny_root
from support.ports import held_port

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

DOCKERFILE = """
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ARG GREETING=none
ARG ADDITIONAL_PACKAGE
COPY . /app
RUN --mount=type=secret,id=token cp /run/secrets/token /app/seen
RUN echo "$GREETING [$ADDITIONAL_PACKAGE]" > /app/greeting
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Containers]:
    """One registry and storage for all tests here."""
    if reason := missing_tools():
        pytest.skip(reason)
    with containers() as made:
        yield made


@pytest.fixture(scope="module")
def tiny(machine: Containers, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A base image with a shell."""
    return machine.import_base("tiny:1", tiny_root(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(params=["buildah", "podman"])
def program(request: pytest.FixtureRequest) -> str:
    """The builder; a test that does not name it takes buildah."""
    name: str = request.param
    return name


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def build(
    machine: Containers,
    project: Project,
    request: BuildRequest,
    *,
    program: str = "buildah",
    publish: bool = False,
    **flags: object,
) -> Job:
    """As the commands do it; the job, whose log tells what happened."""
    located = find_template(request.lang, project.folder)
    job = Job(request.name)
    work = publish_image if publish else build_image
    work(
        request,
        lay_out_image(request, located),
        packages_for(located, request.build_options),
        builder=find_builder(machine.env, wanted=program),
        flags=ImageFlags(**flags),  # type: ignore[arg-type]
        job=job,
        env=machine.env,
    )
    return job


def read(machine: Containers, container: str, path: str) -> str:
    return machine.buildah("run", container, "--", "cat", path)


def test_build_push_pull(machine: Containers, tiny: str, project: Project, program: str) -> None:
    """Arguments, secrets, labels and files get in; the secret's file does not stay."""
    write(project.folder, {"f/Dockerfile": DOCKERFILE, "f/file": "content", "token": "hunter2", "common/x": "shared"})
    image = f"{machine.registry}/{program}:1"
    request = project.request(
        "f",
        "dockerfile",
        image=image,
        build_args={"BASE_IMAGE": tiny, "GREETING": "hi there", "ADDITIONAL_PACKAGE": "curl"},
        build_secrets={"token": project.folder / "token"},
        labels={"team": "x"},
        copies=("common",),
    )
    build(machine, project, request, program=program)
    push_image(image, builder=find_builder(machine.env, wanted=program), job=Job("f"), env=machine.env)
    assert machine.tags(program) == ["1"]
    container = machine.pull_again(image)
    assert read(machine, container, "/app/file") == "content"
    assert read(machine, container, "/app/common/x") == "shared"
    assert read(machine, container, "/app/greeting") == "hi there [curl]"
    assert read(machine, container, "/app/seen") == "hunter2"
    labels = json.loads(machine.buildah("inspect", "--type", "image", image))["OCIv1"]["config"]["Labels"]
    assert labels["team"] == "x"
    assert "run/secrets/token" not in machine.buildah("run", container, "--", "ls", "-R", "/app")


def test_publish_under_several_names(machine: Containers, tiny: str, project: Project) -> None:
    """Built for a platform, pushed as a manifest list under both tags; again, it is replaced."""
    write(project.folder, {"g/Dockerfile": f"FROM {tiny}\nCOPY word /word\n", "g/word": "one"})
    request = project.request("g", "dockerfile", image=f"{machine.registry}/g:1.0", platforms="linux/amd64")
    build(machine, project, request, publish=True, extra_tag="latest")
    assert machine.tags("g") == ["1.0", "latest"]
    (project.folder / "g" / "word").write_text("two")
    build(machine, project, request, publish=True)
    container = machine.pull_again(request.image)
    assert read(machine, container, "/word") == "two"


def test_publish_for_several_platforms(machine: Containers, project: Project, program: str) -> None:
    """A list in the registry with an image for each; nothing foreign has to run for it."""
    write(project.folder, {"m/Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY word-$TARGETARCH /word\n"})
    write(project.folder, {"m/word-amd64": "here", "m/word-arm64": "there"})
    image = f"{machine.registry}/many-{program}:1"
    request = project.request("m", "dockerfile", image=image, platforms="linux/amd64,linux/arm64")
    build(machine, project, request, program=program, publish=True)
    index = machine.manifest(f"many-{program}", "1")
    assert index["mediaType"] in (OCI_INDEX, DOCKER_LIST)
    found = {}
    for entry in index["manifests"]:
        manifest = machine.manifest(f"many-{program}", entry["digest"])
        config = machine.blob(f"many-{program}", manifest["config"]["digest"])
        assert (config["os"], config["architecture"]) == (entry["platform"]["os"], entry["platform"]["architecture"])
        found[entry["platform"]["architecture"]] = manifest["layers"][-1]["digest"]
    assert sorted(found) == ["amd64", "arm64"]
    assert found["amd64"] != found["arm64"]
    assert image not in machine.buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines()


def test_a_failed_step(machine: Containers, tiny: str, project: Project) -> None:
    """The end of the log says which."""
    write(project.folder, {"h/Dockerfile": f"FROM {tiny}\nRUN echo before && cat /no/such/file\n"})
    request = project.request("h", "dockerfile", image=f"{machine.registry}/h:1")
    with pytest.raises(BuildFailed, match="buildah could not build") as caught:
        build(machine, project, request)
    assert "/no/such/file" in "\n".join(caught.value.log)


def test_a_registry_that_is_down(machine: Containers, project: Project) -> None:
    """The hint says so. A push fails alike, but buildah tries it for ten seconds first."""
    with held_port() as port:
        write(project.folder, {"i/Dockerfile": f"FROM 127.0.0.1:{port}/base\n"})
        with pytest.raises(BuildFailed) as caught:
            build(machine, project, project.request("i", "dockerfile", image=f"{machine.registry}/i:1"))
    assert "cannot be reached" in caught.value.hint


def test_a_registry_that_refuses(machine: Containers, project: Project, program: str) -> None:
    """The hint names the command that helps."""
    refusing = Gateway().start()
    problem = b'{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}'
    headers = {"WWW-Authenticate": 'Basic realm="x"', "Content-Type": "application/json"}
    refusing.answer = lambda _: Reply(401, problem, headers)  # type: ignore[method-assign]
    write(project.folder, {"r/Dockerfile": "FROM scratch\nCOPY x /x\n", "r/x": "1"})
    image = f"{refusing.url.removeprefix('http://')}/r:1"
    try:
        build(machine, project, project.request("r", "dockerfile", image=image), program=program)
        with pytest.raises(BuildFailed, match="could not be pushed") as caught:
            push_image(image, builder=find_builder(machine.env, wanted=program), job=Job("r"), env=machine.env)
        assert caught.value.hint == f"log in to the registry first: {program} login REGISTRY"
    finally:
        refusing.close()


def test_shrink_wrapping(project: Project) -> None:
    """What an image build sees: template, handler, watchdog; written as a whole, replaced as a whole."""
    request = project.begin("f", "python3-http", {"mine.py": "x = 1\n"})
    place = lay_out_image(request, find_template("python3-http", project.folder))
    assert place == project.folder / "build" / "f"
    assert (place / "Dockerfile").is_file()
    assert (place / "function" / "mine.py").is_file()
    assert (place / "watchdog" / "hilbert" / "watchdog" / "__main__.py").is_file()
    assert "httptools==" in (place / "watchdog" / "requirements.txt").read_text()
    assert not (place / "template.yml").exists()
    (request.handler / "mine.py").unlink()
    lay_out_image(request, find_template("python3-http", project.folder))
    assert not (place / "function" / "mine.py").exists()
    assert sorted(path.name for path in (project.folder / "build").iterdir()) == ["f"]


def test_straight_into_the_store_of_this_machine(
    machine: Containers, tiny: str, project: Project, program: str
) -> None:
    """No registry takes part. A bundle with the same name gives way, in that namespace."""
    name = f"straight-{program}:1"
    write(project.folder, {"s/Dockerfile": DOCKERFILE, "s/file": "one", "token": "x"})
    request = project.request(
        "s",
        "dockerfile",
        image=name,
        namespace="dev",
        build_args={"BASE_IMAGE": tiny},
        build_secrets={"token": project.folder / "token"},
    )
    images, bundles = OciStore(project.folder / "oci"), Store(project.folder / "bundles")
    for namespace in ("dev", "other"):
        with bundles.stage() as stage:
            (stage / "bundle").mkdir()
            bundles.put_bundle(stage / "bundle", Manifest(mode=Mode.STATIC), name, namespace=namespace)

    def keep() -> tuple[str, bool]:
        job = build(machine, project, request, program=program)
        builder = find_builder(machine.env, wanted=program)
        return keep_image(request, builder=builder, images=images, bundles=bundles, job=job, env=machine.env)

    assert keep()[1]
    found = images.find(name, "dev")
    assert found is not None
    assert (found.root / "app/file").read_text() == "one"
    assert images.find(name, "other") is None
    assert bundles.find(name, namespace="dev") is None
    assert bundles.find(name, namespace="other") is not None
    assert images.revision(name, "dev") == found.digest, "no registry is to be asked"
    write(project.folder, {"s/file": "two"})
    digest, changed = keep()
    assert changed
    assert images.revision(name, "dev") == digest


def test_no_dockerfile(project: Project) -> None:
    """With `lang: dockerfile`, the handler has to bring it."""
    write(project.folder, {"f/x": ""})
    request = project.request("f", "dockerfile")
    with pytest.raises(InvalidHandler, match="there is no Dockerfile"):
        lay_out_image(request, find_template("dockerfile", project.folder))


def test_a_shipped_template_as_an_image(
    machine: Containers, project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its own Dockerfile, the watchdog inside, its tests run, pushed, pulled and called."""
    base = machine.import_base("python:1", python_root(tmp_path_factory.mktemp("python")))
    image = f"{machine.registry}/hello:1"
    project.begin("hello", "python3-http")
    request = project.request("hello", "python3-http", image=image, build_args={"BASE_IMAGE": base})
    job = build(machine, project, request, no_cache=True)
    assert "Ran 1 test" in "\n".join(job.tail())
    push_image(image, builder=find_builder(machine.env, wanted="buildah"), job=job, env=machine.env)
    container = machine.pull_again(image)
    with (
        held_port() as port,
        machine.serving(container, ["python3", "-m", "hilbert.watchdog"], port=port) as url,
        urllib.request.urlopen(f"{url}/?name=Ada", timeout=20) as answer,
    ):
        assert answer.read() == b"Hello, Ada!\n"
    assert machine.buildah("run", container, "--", "id", "-u") == "12000"
