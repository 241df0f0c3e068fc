"""What a function of one namespace can do to another and to the platform, really tried from inside, at each level.

What a level does not protect is asserted, too: it must be possible, and stated in the runtime's facts.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import hilbert
from hilbert.core.errors import InvalidSpec
from hilbert.core.isolation import STRICT, Promise
from hilbert.core.model import ANNOTATION_ISOLATION, ANNOTATION_NETWORK, Endpoint, Namespace, Resources, Secret
from hilbert.core.network import NetworkUse
from hilbert.core.values import DEFAULT_NAMESPACE, NamespaceName, Quantity, SecretName
from hilbert.testing.harness import call, eventually, lines_of, spec_of, watching
from support.attacker import inside, refused
from support.processes import LEVELS, RUNTIMES, ProcessHarness

pytestmark = pytest.mark.anyio

DEV = NamespaceName("dev")
TOKEN = SecretName("token")


@pytest.fixture(params=RUNTIMES)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[ProcessHarness]:
    harness = ProcessHarness(request.param)
    await harness.start()
    yield harness
    await harness.close()


class Scene:
    """An attacker in one namespace, a victim in another, and the platform's own sockets."""

    attacker: Endpoint
    victim: Endpoint

    def __init__(self, harness: ProcessHarness) -> None:
        self.harness = harness
        self.level = harness.level
        self.run = harness.folder / "run"
        self.state = harness.folder / "state"
        self.control = socket.socket(socket.AF_UNIX)
        self.control.bind(str(self.run / "control.sock"))
        self.control.listen()
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0hilbert-test-{os.getpid()}")
        self.abstract.listen()

    async def open(self) -> None:
        provider = self.harness.provider
        await provider.create_namespace(Namespace(name=DEV))
        await provider.create_secret(Secret(DEV, TOKEN, b"the victim's"))
        await provider.create_secret(Secret(DEFAULT_NAMESPACE, TOKEN, b"the attacker's"))
        victim = spec_of(self.harness, "victim", "dev", image="run", secrets=(TOKEN,), env={"PRIVATE": "plan"})
        attacker = spec_of(self.harness, "attacker", image="run", secrets=(TOKEN,))
        async with watching(provider) as table:
            await provider.apply(victim)
            await provider.apply(attacker)
            (self.victim,) = await table.ready(victim.ref)
            (self.attacker,) = await table.ready(attacker.ref)

    def close(self) -> None:
        self.control.close()
        self.abstract.close()

    @property
    def separate_users(self) -> bool:
        return self.harness.runtime.machine.user(1) is not None

    def folder(self, endpoint: Endpoint) -> str:
        return str(self.run / "r" / endpoint.replica.rpartition("-")[2])


@pytest.fixture
async def scene(harness: ProcessHarness) -> AsyncIterator[Scene]:
    scene = Scene(harness)
    await scene.open()
    yield scene
    scene.close()


async def test_each_function_reads_its_own_secrets(scene: Scene) -> None:
    code = {"token": "read(os.environ['HILBERT_SECRETS_DIR'] + '/token')"}
    assert (await inside(scene.attacker, code))["token"] == ("done", "the attacker's")
    assert (await inside(scene.victim, code))["token"] == ("done", "the victim's")
    where = (await inside(scene.victim, {"where": "os.environ['HILBERT_SECRETS_DIR']"}))["where"][1]
    assert (where == "/var/openfaas/secrets") == (scene.level == "bubblewrap")


async def test_files_of_others_and_of_the_platform(scene: Scene) -> None:
    victim = scene.folder(scene.victim)
    log = scene.state / "logs" / "dev" / "victim" / f"{scene.victim.replica}.log"
    results = await inside(
        scene.attacker,
        {
            "secret": f"read({victim + '/secrets/token'!r})",
            "database": f"read({str(scene.state / 'hilbert.db')!r})",
            "log": f"read({str(log)!r})",
            "replicas": f"os.listdir({str(scene.run / 'r')!r})",
            "logs": f"os.listdir({str(scene.state / 'logs')!r})",
        },
    )
    if scene.level == "process" and not scene.separate_users:
        assert results["secret"] == ("done", "the victim's")
        facts = await scene.harness.provider.facts()
        assert "read the files and secrets of another" in facts["warning.sandbox"]
    else:
        assert refused(results)


async def test_sockets_of_others_and_of_the_platform(scene: Scene) -> None:
    """Unix sockets with names, and those without."""
    results = await inside(
        scene.attacker,
        {
            "control": f"connect({str(scene.run / 'control.sock')!r})",
            "victim": f"connect({scene.victim.address.removeprefix('unix:')!r})",
            "abstract": f"connect({f'{chr(0)}hilbert-test-{os.getpid()}'!r})",
        },
    )
    assert refused(results)
    pair = await inside(scene.attacker, {"pair": "socket.socketpair()[0].fileno() > 0"})
    assert pair["pair"] == ("done", True)


async def test_processes_of_others(scene: Scene) -> None:
    """By the numbers that they have outside, and in `/proc`."""
    victim = scene.harness.pid_of(scene.victim)
    results = await inside(
        scene.attacker,
        {
            "signal": f"os.kill({victim}, 0)",
            "gateway": f"os.kill({os.getpid()}, 0)",
            "environment": f"read('/proc/{victim}/environ')",
            "memory": f"read('/proc/{victim}/mem')",
            "files": f"os.listdir('/proc/{victim}/fd')",
            "trace": f"system(libc.ptrace(16, {victim}, 0, 0))",
        },
    )
    if scene.level == "process" and not scene.separate_users:
        assert results["signal"][0] == "done"
        facts = await scene.harness.provider.facts()
        assert "plain processes" in facts["warning.sandbox"]
    else:
        assert refused(results)


async def test_no_privileges_to_use_or_to_gain(scene: Scene) -> None:
    numbers = {
        "nested": "system(libc.syscall(56, 0x10000011, None, None, None, None)) or os._exit(0)",
        "keys": "system(libc.syscall(248, b'user', b'x', b'y', 1, -3))",
    }
    results = await inside(
        scene.attacker,
        {
            **(numbers if os.uname().machine == "x86_64" else {}),
            "status": "read('/proc/self/status')",
            "identity": "os.setresuid(12345, 12345, 12345)",
            "mount": "system(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))",
            "user namespace": "system(libc.unshare(0x10000000))",
            "device": "os.mknod('/tmp/device', 0o020666, os.makedev(1, 1))",
            "chroot": "os.chroot('/tmp')",
        },
    )
    status = dict(line.split(":\t", 1) for line in results.pop("status")[1].splitlines())
    assert {status[name].strip("0") for name in ("CapPrm", "CapEff", "CapAmb")} == {""}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert refused(results)


async def test_nothing_of_the_platform_is_inherited(scene: Scene) -> None:
    results = await inside(
        scene.attacker,
        {
            "environment": "sorted(os.environ)",
            "files": "[os.readlink('/proc/self/fd/' + name) for name in os.listdir('/proc/self/fd')"
            " if os.path.lexists('/proc/self/fd/' + name)]",
        },
    )
    names = set(results["environment"][1])
    assert {"OPENFAAS_NAME", "OPENFAAS_NAMESPACE", "PATH", "HOME"} <= names
    assert {name for name in names if name.startswith("HILBERT_")} == {"HILBERT_SECRETS_DIR"}
    allowed = ("/dev/null", "pipe:", "socket:", "anon_inode:")
    own_pipe = str(scene.run / "pipes" / scene.attacker.replica)
    strange = [name for name in results["files"][1] if not name.startswith(allowed) and name not in (own_pipe, "/")]
    assert strange == []


async def test_what_may_be_written(scene: Scene) -> None:
    package = os.path.dirname(hilbert.__file__)
    system = "/etc/x" if scene.harness.images else "/usr/x"
    results = await inside(
        scene.attacker,
        {
            "scratch": "write(os.environ['TMPDIR'] + '/x')",
            "bundle": "write(os.getcwd() + '/x')",
            "secrets": "write(os.environ['HILBERT_SECRETS_DIR'] + '/x')",
            "state": f"write({str(scene.state / 'x')!r})",
            **(
                {}
                if scene.level == "process"
                else {"system": f"write({system!r})", "code": f"write({package + '/x'!r})"}
            ),
        },
    )
    assert results.pop("scratch")[0] == "done"
    if scene.harness.images:  # Its root is its own to write to, and gone with it.
        assert {results.pop(name)[0] for name in ("bundle", "system")} == {"done"}
        assert not Path(system).exists()
    if scene.level == "process" and not scene.separate_users:
        assert results["state"][0] == "done"
        assert "read the files and secrets" in (await scene.harness.provider.facts())["warning.sandbox"]
    else:
        assert refused(results)


async def test_the_home_of_whoever_runs_the_platform(scene: Scene) -> None:
    project = os.path.dirname(os.path.dirname(os.path.dirname(hilbert.__file__)))
    results = await inside(
        scene.attacker,
        {"home": f"os.listdir({os.path.expanduser('~')!r})", "project": f"os.listdir({project!r})"},
    )
    if scene.level == "bubblewrap":  # Only the way to the interpreter is there.
        assert all(len(value) <= 2 for kind, value in results.values() if kind == "done"), results
    elif scene.level == "landlock" or scene.separate_users:
        assert refused(results)


async def test_an_environment_that_steers_the_loader_steers_only_children(harness: ProcessHarness) -> None:
    """`LD_PRELOAD` would bring a function's code into the platform's first steps, with more rights than it may have."""
    spec = spec_of(harness, image="run", env={"LD_PRELOAD": "/nowhere/evil.so", "PYTHONPATH": "/nowhere", "TZ": "UTC"})
    await harness.provider.apply(spec)
    async with watching(harness.provider) as table:
        (endpoint,) = await table.ready(spec.ref)
    results = await inside(endpoint, {"own": "os.environ['LD_PRELOAD']", "maps": "'evil' in read('/proc/self/maps')"})
    assert results == {"own": ("done", "/nowhere/evil.so"), "maps": ("done", False)}
    if harness.images:
        return  # The program that is started is the image's own.
    lines = [line.text for line in await lines_of(harness, ref=spec.ref)]
    assert not [line for line in lines if "evil.so" in line], "the loader was asked for it at the start"


@pytest.mark.parametrize("where", ["function", "namespace"])
async def test_no_network_means_none(harness: ProcessHarness, where: str) -> None:
    """Not even this machine's loopback; a namespace that has the host's network reaches it."""
    if not harness.runtime.machine.own_network:
        assert "warning.network" in await harness.provider.facts()
        pytest.skip("this machine cannot make network namespaces for us")
    none = {ANNOTATION_NETWORK: "none"}
    await harness.provider.create_namespace(Namespace(name=DEV, annotations=none if where == "namespace" else {}))
    closed = spec_of(harness, "closed", "dev", image="run", annotations=none if where == "function" else {})
    opened = spec_of(harness, "opened", "shared", image="run")
    await harness.provider.create_namespace(
        Namespace(name=NamespaceName("shared"), annotations={ANNOTATION_NETWORK: "host"})
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = {
            "loopback": f"connect(('127.0.0.1', {server.getsockname()[1]}), socket.AF_INET)",
            "interfaces": "[name for _, name in socket.if_nameindex()]",
            "own": "socket.create_server(('127.0.0.1', 0)).close()",
        }
        async with watching(harness.provider) as table:
            await harness.provider.apply(closed)
            if not harness.images:
                await harness.provider.apply(opened)
            results = await inside((await table.ready(closed.ref))[0], code)
            assert results["loopback"][0] == "refused"
            assert results["interfaces"] == ("done", ["lo"])
            assert results["own"] == ("done", None), "its own loopback works"
            assert (await harness.provider.get(closed.ref)).placement["network"] == "none"
            if harness.images:
                with pytest.raises(InvalidSpec, match="always has a network of its own"):
                    await harness.provider.apply(opened)
                return
            results = await inside((await table.ready(opened.ref))[0], code)
            assert results["loopback"][0] == "done"
    assert (await harness.provider.get(opened.ref)).placement["network"] == "host"


async def test_each_replica_has_a_network_of_its_own(harness: ProcessHarness) -> None:
    """The default: nothing of this machine's is reached, names are found, and two replicas listen on one port."""
    provider = harness.provider
    abilities = harness.runtime.machine.abilities
    if not (abilities.own and harness.runtime.machine.own_network):
        assert (await provider.facts())["network"] == "host"
        assert "share this machine's network" in (await provider.facts())["warning.network"]
        pytest.skip(f"no networks of their own here: {abilities.failures}")
    spec = spec_of(harness, "mine", image="run", labels={"com.openfaas.scale.min": "2"})
    await provider.apply(spec)
    async with watching(provider) as table:
        endpoints = await table.ready(spec.ref, 2)
        with socket.create_server(("127.0.0.1", 0)) as server:
            code = {
                "loopback": f"connect(('127.0.0.1', {server.getsockname()[1]}), socket.AF_INET)",
                "gateway": "socket.gethostbyname('gateway') + ' ' + socket.gethostbyname('gateway.openfaas')",
                "own": "globals().setdefault('kept', socket.create_server(('0.0.0.0', 9090))).getsockname()[1]",
                "network": "os.stat('/proc/self/ns/net').st_ino",
                "server": "[line for line in open('/etc/resolv.conf') if line.startswith('nameserver')]",
            }
            found = [await inside(endpoint, code) for endpoint in endpoints]
    for results in found:
        assert results["loopback"][0] == "refused"
        assert results["gateway"] == ("done", "127.0.0.80 127.0.0.80")
        assert results["own"] == ("done", 9090)
        assert results["server"] == ("done", ["nameserver 127.0.0.80\n"] if abilities.uplink else [])
    assert len({results["network"][1] for results in found}) == 2
    placement = (await provider.get(spec.ref)).placement
    assert (placement["network"], placement["egress"]) == ("tenant", "internet" if abilities.uplink else "none")
    assert Promise.NETWORK in harness.runtime.machine.promises(NetworkUse())


async def test_a_namespace_is_never_served_more_weakly_than_it_demands(harness: ProcessHarness) -> None:
    provider = harness.provider
    assert (await provider.facts())["sandbox"] == harness.level
    held = harness.runtime.machine.promises(NetworkUse())
    for demanded in Promise:
        name = NamespaceName(f"needs-{demanded}")
        await provider.create_namespace(Namespace(name=name, annotations={ANNOTATION_ISOLATION: demanded}))
        spec = spec_of(harness, namespace=name)
        if demanded is Promise.KERNEL and shutil.which("runsc"):
            continue  # Images can have it here: `test_engines.py`.
        if demanded not in held:
            with pytest.raises(InvalidSpec, match=f": {demanded} missing$"):
                await provider.apply(spec)
        else:
            await provider.apply(spec)
            async with watching(provider) as table:
                await table.ready(spec.ref)
            assert (await provider.get(spec.ref)).placement["sandbox"] == harness.level


@pytest.mark.parametrize("level", LEVELS)
async def test_a_strict_installation_runs_a_function_with_the_whole_promise_or_not_at_all(level: str) -> None:
    harness = ProcessHarness(level, required=STRICT)
    await harness.start()
    try:
        assert (await harness.provider.facts())["isolation"] == "strict"
        held = harness.runtime.machine.promises(NetworkUse())
        spec = spec_of(harness, image="run")
        if held >= STRICT:
            assert level == "bubblewrap"
            await harness.provider.apply(spec)
            async with watching(harness.provider) as table:
                await table.ready(spec.ref)
            await harness.provider.create_namespace(Namespace(name=DEV, annotations={ANNOTATION_NETWORK: "host"}))
            shared = spec_of(harness, namespace="dev", image="run")
            with pytest.raises(InvalidSpec, match="network missing") as refusal:
                await harness.provider.apply(shared)
            assert "remove the namespace's annotation" in refusal.value.hint
        else:
            with pytest.raises(InvalidSpec, match="missing") as refusal:
                await harness.provider.apply(spec)
            assert "single-owner" in refusal.value.hint
            assert all(promise in refusal.value.message for promise in STRICT - held)
            warning = (await harness.provider.facts())["warning.isolation"]
            assert all(promise in warning for promise in STRICT - held)
    finally:
        await harness.close()


async def test_what_programs_expect_of_a_machine(harness: ProcessHarness) -> None:
    """As in a container: its name, which is the replica's, and which system it stands on."""
    spec = spec_of(harness, "mine", image="run")
    await harness.provider.apply(spec)
    async with watching(harness.provider) as table:
        (endpoint,) = await table.ready(spec.ref, 1)
        code = {
            "name": "open('/etc/hostname').read() == os.uname().nodename + '\\n'",
            "system": "'ID=' in open('/etc/os-release').read()",
            "folders": "[p for p in ('/mnt', '/srv', '/var/lib', '/var/log', '/var/run', '/run/lock') if not os.path.isdir(p)]",
            "mounts": "'/proc' in open('/etc/mtab').read()",
        }
        found = await inside(endpoint, code)
    system = os.path.exists("/etc/os-release")
    isolated = harness.level == "bubblewrap"
    assert found["name"] == ("done", True) or not isolated
    assert found["system"] == ("done", True) or not system or not isolated
    assert found["folders"] == ("done", []) or not isolated or harness.images
    assert found["mounts"] == ("done", True) or not isolated or harness.images


async def test_a_read_only_root(harness: ProcessHarness) -> None:
    code = {"root": "write('/x')", "tmp": "write(os.environ['TMPDIR'] + '/x')"}
    async with watching(harness.provider) as table:
        for read_only in (False, True):
            spec = spec_of(harness, f"f{int(read_only)}", image="run", read_only_root=read_only)
            await harness.provider.apply(spec)
            results = await inside((await table.ready(spec.ref))[0], code)
            assert results["tmp"] == ("done", None)
            if harness.level == "bubblewrap":
                assert results["root"][0] == ("refused" if read_only else "done")
            elif os.path.exists("/x"):
                os.unlink("/x")


async def test_an_updated_secret_is_seen_by_a_running_function(scene: Scene) -> None:
    await scene.harness.provider.update_secret(Secret(DEV, TOKEN, b"another"))
    code = {"token": "read(os.environ['HILBERT_SECRETS_DIR'] + '/token')"}
    assert (await inside(scene.victim, code))["token"] == ("done", "another")
    assert (await inside(scene.attacker, code))["token"] == ("done", "the attacker's")


async def test_memory_beyond_the_limit_ends_the_replica_and_says_why(harness: ProcessHarness) -> None:
    limits = Resources(memory=Quantity.parse("96Mi"), cpu=Quantity.parse("500m"))
    spec = spec_of(harness, image="run", limits=limits)
    greedy = b"x = bytearray(b'x') * (512 << 20); print(len(x))"
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        for _ in range(2):  # Once may be an accident and is not mentioned for long.
            (endpoint,) = await eventually(lambda: table.endpoints(spec.ref))
            placement = (await harness.provider.get(spec.ref)).placement
            assert placement["memory-limit"].startswith("96Mi (")
            if "cgroup" not in placement["memory-limit"]:
                assert b"MemoryError" in (await call(endpoint, greedy))[1]
                return
            with pytest.raises((OSError, IndexError, asyncio.IncompleteReadError)):
                await call(endpoint, greedy)
            await eventually(lambda gone=endpoint: gone not in table.endpoints(spec.ref))  # type: ignore[misc]
    status = await harness.provider.get(spec.ref)
    assert status.reason == "OOMKilled"
    assert "ran out of memory" in status.message
