"""Images that are more than one user, and images under gVisor: the same store, network, calls and logs under each runtime."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator

import pytest

from hilbert.core.errors import Invalid, InvalidSpec
from hilbert.core.model import LogQuery, Namespace, Secret
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName, SecretName
from hilbert.runtimes.oci import engines
from hilbert.testing.harness import call, eventually, spec_of, watching
from support.container_images import PYTHON, SERVER, layer, load, python_layer, write_image
from support.processes import ProcessHarness

pytestmark = pytest.mark.anyio

BECOMES_ANOTHER = """
import os
assert (os.getuid(), os.getgid()) == (0, 0), "it starts as root"
os.mkdir("/data")
os.chown("/data", 1234, 99)
os.setgroups([99])
os.setgid(99)
os.setuid(1234)
open("/data/file", "w").close()
print("became", os.getuid(), os.getgid(), os.getgroups(), flush=True)
"""
ACCOUNTS = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
TENANT = NamespaceName("tenant")
REF = FunctionRef(TENANT, FunctionName("dropping"))
RUNTIMES = ("crun", "runc", "runsc")

PROBE = """
import os
print("ids", os.getuid(), os.stat("/data/file").st_uid, os.stat("/").st_uid)
print("secret", open("/var/openfaas/secrets/token").read())
print("kernel", os.uname().release)
print("others", [name for name in os.listdir("/proc") if name.isdigit() and int(name) < 2])
for path in ("/proc/sysrq-trigger", "/etc/hosts", "/var/openfaas/secrets/token"):
    try:
        open(path, "w").close()
        print("opened", path)
    except OSError:
        pass
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for number, name in ((467, "open_tree_attr"), (500, "a later one"), (250, "keyctl"), (206, "io_setup")):
    if libc.syscall(number, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() not in (1, 38):
        print("reached", name)
import socket
for arguments in ((40, 1, 0), (2, 3, 1), (2, 1, 132), (38, 5, 0), (17, 2, 0), (16, 3, 9)):
    try:
        socket.socket(*arguments).close()
        print("opened", arguments)
    except OSError:
        pass
print("namespace", libc.unshare(0x10000000), "mount", libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
"""


@pytest.fixture(scope="module", autouse=True)
def image(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It starts as root, prepares a folder for its own account, becomes that, and then runs what it is sent."""
    accounts = ACCOUNTS + "app:x:1234:99::/data:/bin/sh\n"
    files = layer({"server.py": BECOMES_ANOTHER + SERVER, "etc/passwd": accounts}, mode=0o644)
    entry = [PYTHON, "-I", "-S", "-u", "/server.py", "run"]
    file = tmp_path_factory.mktemp("images") / "dropping.tar"
    load(write_image(file, [python_layer(), files], entrypoint=entry), "dropping")


@pytest.fixture(params=RUNTIMES)
async def harness(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessHarness]:
    """With one of the runtimes to choose from, and a namespace with a secret that asks for gVisor if it is that one."""
    name = request.param
    if shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin") is None:
        pytest.skip(f"{name} is not installed (package {name})")
    if name != engines.GVISOR:
        monkeypatch.setattr(engines, "MANY_IDS", (name, "none"))
    harness = ProcessHarness("image", probe_period=2)
    await harness.start()
    annotations = {"com.hilbert.profiles": "gvisor"} if name == engines.GVISOR else {}
    await harness.provider.create_namespace(Namespace(name=TENANT, annotations=annotations))
    await harness.provider.create_secret(Secret(TENANT, SecretName("token"), b"s3cret"))
    yield harness
    await harness.close()


async def test_an_image_that_becomes_another_user(harness: ProcessHarness, request: pytest.FixtureRequest) -> None:
    runtime = request.node.callspec.params["harness"]
    own_kernel = os.uname().release
    async with watching(harness.provider) as table:
        spec = spec_of(harness, "dropping", TENANT, image="dropping", secrets=("token",))
        assert spec.ref == REF
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(REF, 1)
        status, body = await call(endpoint, PROBE.encode())
        text = body.decode()
        assert status == 200, text
        assert "ids 1234 1234 0" in text, text
        assert "secret s3cret" in text, text
        assert (f"kernel {own_kernel}" in text) == (runtime != "runsc"), text
        assert "opened" not in text, text
        assert ("reached" in text) == (runtime == "runsc"), "only a kernel of its own has calls that ours refuses"
        assert "namespace -1 mount -1" in text, text
        await harness.provider.update_secret(Secret(TENANT, SecretName("token"), b"changed"))
        assert "secret changed" in (await call(endpoint, PROBE.encode()))[1].decode()
        placement = (await harness.provider.get(REF)).placement
        assert placement["sandbox"] == runtime
        (outer,) = [process for process in harness.processes() if process.pid == harness.pid_of(endpoint)]
        if os.geteuid() == 0 and runtime != "runsc":
            program = next(one for one in outer.children(recursive=True) if "/server.py" in one.cmdline())
            first = int(placement["user"].split(" ")[0])
            assert program.uids().real == first + 1234
        lines = [line.text async for line in harness.provider.read_logs(LogQuery(ref=REF))]
        assert any(line.startswith("became 1234 99 [99]") for line in lines), lines
        await harness.restart()
        async with watching(harness.provider) as after:
            (again,) = await after.ready(REF, 1)
            assert again == endpoint, "it is taken back, not started again"
            assert (await call(again, PROBE.encode()))[0] == 200
            await harness.provider.remove(REF)
            await eventually(lambda: not outer.is_running())
    await eventually(lambda: not harness.processes())


@pytest.fixture
async def bare(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessHarness]:
    """On a machine without any such runtime."""
    monkeypatch.setattr(engines, "MANY_IDS", ("none", "nothing"))
    monkeypatch.setattr(engines, "GVISOR", "no-runsc")
    harness = ProcessHarness("image", probe_period=2)
    await harness.start()
    await harness.provider.create_namespace(Namespace(name=TENANT))
    yield harness
    await harness.close()


async def test_without_a_runtime_it_is_refused_with_the_reason(bare: ProcessHarness) -> None:
    spec = spec_of(bare, "dropping", TENANT, image="dropping")
    await bare.provider.apply(spec)

    while not (message := (await bare.provider.get(REF)).message):
        await asyncio.sleep(0.02)
    assert "needs several user ids" in message
    assert "it starts as root and has the account app" in message
    assert "none: not installed; nothing: not installed" in message
    facts = await bare.provider.facts()
    assert facts["images.many-users"].startswith("refused: none: not installed")
    with pytest.raises(InvalidSpec, match="gVisor is required here and does not work: no-runsc: not installed"):
        await bare.provider.apply(
            spec_of(bare, "other", TENANT, image="run", annotations={"com.openfaas.profile": "gvisor"})
        )


async def test_what_an_owner_says_of_the_users_counts(bare: ProcessHarness) -> None:
    with pytest.raises(InvalidSpec, match="must be one of one, many"):
        await bare.provider.apply(
            spec_of(bare, "other", TENANT, image="run", annotations={"com.hilbert.user-ids": "three"})
        )
    with pytest.raises(Invalid, match="there is no profile 'kata'"):
        await bare.provider.update_namespace(Namespace(name=TENANT, annotations={"com.hilbert.profiles": "kata"}))


async def test_a_bundle_does_not_run_where_a_kernel_of_its_own_is_required() -> None:
    harness = ProcessHarness("bubblewrap")
    await harness.start()
    try:
        annotations = {"com.hilbert.profiles": "gvisor"}
        await harness.provider.create_namespace(Namespace(name=TENANT, annotations=annotations))
        with pytest.raises(InvalidSpec, match="kernel missing") as caught:
            await harness.provider.apply(spec_of(harness, "echo", TENANT))
        assert "container image" in caught.value.hint
    finally:
        await harness.close()
