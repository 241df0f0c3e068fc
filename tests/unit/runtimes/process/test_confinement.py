"""The pieces of the sandboxes that can be looked at one by one."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from hilbert.core.bundle import Manifest, Mode
from hilbert.core.model import FunctionSpec
from hilbert.core.ports import ReplicaPlan
from hilbert.core.values import DEFAULT_NAMESPACE, FunctionName, FunctionRef
from hilbert.kit.http1.ask import safe_path
from hilbert.runtimes.process.environment import render_environment
from hilbert.runtimes.process.interpreter import this_interpreter
from hilbert.runtimes.process.network import without_unix_upstream
from hilbert.runtimes.process.sandbox import landlock
from hilbert.runtimes.process.sandbox.contract import Places
from hilbert.runtimes.replica import seccomp
from hilbert.runtimes.replica.users import Users

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def run_filter(
    program: bytes, *, machine: str, number: int, arguments: Sequence[int] = (), arch: int | None = None
) -> int:
    """What the kernel would answer: an interpreter of the few instructions that the filter uses."""
    six = [*arguments, *[0] * 6][:6]
    data = struct.pack("=IIQ6Q", number, ARCHITECTURE[machine] if arch is None else arch, 0, *six)
    lines = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    position = accumulator = 0
    while True:
        code, yes, no, value = lines[position]
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x15:
            position += yes if accumulator == value else no
        elif code == 0x35:
            position += yes if accumulator >= value else no
        else:
            assert code == 0x06
            return int(value)


UNIX, INET, INET6, NETLINK, PACKET, VSOCK, ALG = 1, 2, 10, 16, 17, 40, 38
STREAM, DATAGRAM, RAW, SEQPACKET = 1, 2, 3, 5


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(
    ("machine", "number", "arguments", "answer"),
    [
        ("x86_64", 0, (), ALLOW),  # read
        ("x86_64", 1, (1,), ALLOW),  # write: the argument of another call means nothing here
        ("x86_64", 165, (), EPERM),  # mount
        ("x86_64", 250, (), EPERM),  # keyctl
        ("x86_64", 425, (), EPERM),  # io_uring_setup
        ("x86_64", 272, (0x10000000,), EPERM),  # unshare a user namespace
        ("x86_64", 272, (0x200,), ALLOW),  # unshare files
        ("x86_64", 56, (0x10000011,), EPERM),  # clone into a user namespace
        ("x86_64", 56, (0x003D0F00,), ALLOW),  # clone a thread
        ("x86_64", 435, (), ENOSYS),  # clone3
        ("x86_64", 467, (), EPERM),  # open_tree_attr
        ("x86_64", 206, (), ENOSYS),  # io_setup
        ("x86_64", 470, (), ENOSYS),  # The first that is not known here.
        ("x86_64", 469, (), ALLOW),  # file_setattr
        ("x86_64", 0x40000000, (), EPERM),  # another architecture's numbers
        ("x86_64", 41, (INET, STREAM | 0o2000000, 6), ALLOW),
        ("x86_64", 41, (INET6, DATAGRAM, 17), ALLOW),
        ("x86_64", 41, (INET, DATAGRAM, 1), ALLOW),  # ping
        ("x86_64", 41, (INET, RAW, 6), EPERM),
        ("x86_64", 41, (INET, STREAM, 132), EPERM),  # SCTP
        ("x86_64", 41, (INET, STREAM, 262), EPERM),  # MPTCP
        ("x86_64", 41, (NETLINK, RAW, 0), ALLOW),
        ("x86_64", 41, (NETLINK, RAW, 9), EPERM),  # audit
        ("x86_64", 53, (UNIX, STREAM | 0o2000000, 0), ALLOW),  # socketpair
        ("x86_64", 53, (INET, STREAM, 0), EPERM),
        *[("x86_64", 41, (family, kind, 0), EPERM) for family in (PACKET, VSOCK, ALG, 3, 21, 44) for kind in (1, 2, 3)],
        ("aarch64", 63, (), ALLOW),  # read
        ("aarch64", 40, (), EPERM),  # mount
        ("aarch64", 0, (), ENOSYS),  # io_setup
        ("aarch64", 5000, (), ENOSYS),
        ("aarch64", 198, (VSOCK, STREAM, 0), EPERM),
        ("aarch64", 220, (0x11,), ALLOW),  # clone
    ],
)
def test_the_filter_refuses_what_reaches_past_the_sandbox(
    machine: str, number: int, arguments: tuple[int, ...], answer: int, apart: bool
) -> None:
    program = seccomp.program(apart=apart, machine=machine)
    assert run_filter(program, machine=machine, number=number, arguments=arguments) == answer
    assert run_filter(program, machine=machine, number=number, arguments=arguments, arch=0x40000003) == EPERM
    assert len(program) // 8 < 4096, "the kernel takes no longer one"


@pytest.mark.parametrize(
    ("number", "arguments", "apart", "shared"),
    [
        (41, (UNIX, STREAM, 0), ALLOW, EPERM),
        (41, (UNIX, DATAGRAM, 0), ALLOW, EPERM),
        (53, (UNIX, DATAGRAM, 0), ALLOW, EPERM),  # Could send to any path.
        (53, (UNIX, RAW, 0), EPERM, EPERM),  # Is a datagram socket by another name.
        (53, (UNIX, SEQPACKET, 0), ALLOW, ALLOW),
        (302, (0, 7), ALLOW, ALLOW),  # prlimit64 of oneself
        (302, (4711, 7), ALLOW, EPERM),
        (302, (1 << 32, 7), ALLOW, ALLOW),  # The kernel takes the low half alone.
        (141, (0, 0, 19), ALLOW, ALLOW),  # setpriority of oneself
        (141, (0, 4711, 19), ALLOW, EPERM),
        (141, (2, 0, 19), ALLOW, EPERM),  # of all processes of the user
        (251, (1, 0), ALLOW, ALLOW),  # ioprio_set
        (251, (3, 0), ALLOW, EPERM),
        (203, (4711,), ALLOW, EPERM),  # sched_setaffinity
        (72, (1, 8, 4711), ALLOW, EPERM),  # fcntl F_SETOWN
        (72, (1, 2, 1), ALLOW, ALLOW),  # fcntl F_SETFD
        (16, (1, 0x8901), ALLOW, EPERM),  # ioctl FIOSETOWN
        (16, (1, 0x541B), ALLOW, ALLOW),  # ioctl FIONREAD
        (157, (62,), ALLOW, EPERM),  # prctl PR_SCHED_CORE
        (157, (15,), ALLOW, ALLOW),  # prctl PR_SET_NAME
        (29, (), ALLOW, EPERM),  # shmget
        (254, (), ALLOW, EPERM),  # inotify_add_watch
        (294, (), ALLOW, EPERM),  # inotify_init1: instances are counted by user
        (101, (), ALLOW, EPERM),  # ptrace
        (62, (4711, 9), ALLOW, ALLOW),  # kill: a watchdog ends its children so; Landlock keeps it to them
    ],
)
def test_what_names_others_is_refused_where_there_are_others(
    number: int, arguments: tuple[int, ...], apart: int, shared: int
) -> None:
    for is_apart, answer in ((True, apart), (False, shared)):
        program = seccomp.program(apart=is_apart, machine="x86_64")
        assert run_filter(program, machine="x86_64", number=number, arguments=arguments) == answer


def test_metadata_is_closed_where_files_of_others_belong_to_the_same_user() -> None:
    chmod, utimensat, fsetxattr = 90, 280, 190
    for number in (chmod, utimensat, fsetxattr):
        for allowed, answer in ((True, ALLOW), (False, EPERM)):
            program = seccomp.program(apart=False, metadata=allowed, machine="x86_64")
            assert run_filter(program, machine="x86_64", number=number) == answer


def test_both_architectures_have_a_number_for_each_name() -> None:
    assert seccomp.REFUSED["x86_64"].keys() - seccomp.REFUSED["aarch64"].keys() == {"iopl", "ioperm"}
    assert seccomp._SELF["x86_64"].keys() == seccomp._SELF["aarch64"].keys()
    assert seccomp._ALONE["x86_64"].keys() - seccomp._ALONE["aarch64"].keys() == {"inotify_init"}
    assert seccomp._METADATA["aarch64"].keys() < seccomp._METADATA["x86_64"].keys(), "the old names are missing there"


def test_a_kernel_s_rights_are_those_of_its_version() -> None:
    assert [landlock._all_rights(version).bit_count() for version in (1, 2, 3, 4, 5, 6, 7)] == [
        13,
        14,
        15,
        15,
        16,
        16,
        16,
    ]


def test_users_are_one_for_each_namespace_and_none_of_the_machine_s() -> None:
    users = Users("hilbert-1", uid_map="0 0 4294967295\n")
    other = Users("hilbert-2", uid_map="0 0 4294967295\n")
    if not users.available:
        assert users.user(1) is None
        pytest.skip("only root gives users away")
    given = [users.user(tenant) for tenant in range(100)]
    assert len({*given}) == 100
    assert all(user is not None and 0x70000000 <= user[0] < 0x80000000 for user in given)
    assert users.user(1) != other.user(1), "another installation on this machine"


def test_users_in_a_container_are_those_that_it_has() -> None:
    users = Users("hilbert-1", uid_map="0 100000 65536\n")
    if users.available:
        user = users.user(1)
        assert user is not None
        assert 30000 <= user[0] < 60000
    assert not Users("hilbert-1", uid_map="0 1000 1\n").available


def test_the_interpreter_runs_alone_with_what_the_watchdog_needs() -> None:
    """In no environment, without `site`, from its own folders."""
    interpreter = this_interpreter()
    code = f"import sys; sys.path[:] = {interpreter.paths!r}; import hilbert.watchdog.run, httptools; print(sys.prefix)"
    done = subprocess.run(
        [interpreter.executable, "-I", "-S", "-c", code], env={}, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).resolve() == Path(sys.base_prefix).resolve()
    shown = [Path(folder) for folder in interpreter.folders]
    assert not [folder for folder in shown if folder in (Path("/"), Path.home(), Path.cwd())]
    assert any(Path(interpreter.executable).is_relative_to(folder) for folder in shown)


def test_a_replica_that_nobody_will_look_after_ends_before_the_function_runs() -> None:
    """The gate closes without a word: the runtime has died between the start and the record of it."""
    interpreter = this_interpreter()
    entry = {"paths": interpreter.paths, "chdir": "/", "gate": 0, "environment": 0}
    done = subprocess.run([*interpreter.argv, json.dumps(entry)], input=b"", env={}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


PLACES = Places(
    bundle="/home/app", layers=("/opt/layers/a", "/opt/layers/b"), secrets="/var/openfaas/secrets", scratch="/tmp"
)


def environment(manifest: Manifest, **spec: object) -> dict[str, str]:
    ref = FunctionRef(DEFAULT_NAMESPACE, FunctionName("f"))
    fields = FunctionSpec(ref=ref, image="x", **spec)  # type: ignore[arg-type]
    plan = ReplicaPlan(replica="f-1", spec=fields, generation=1, secrets={})
    return dict(render_environment(plan, manifest, PLACES, python="/opt/python/bin"))


def test_the_environment_has_ours_then_the_bundle_s_then_the_function_s() -> None:
    manifest = Manifest(mode=Mode.CLASSIC, process="cat", env={"a": "bundle", "b": "bundle"}, handler="handler.py")
    made = environment(manifest, env={"b": "function", "PATH": "/bin"}, process="sha512sum")
    assert (made["a"], made["b"], made["fprocess"], made["PATH"]) == ("bundle", "function", "sha512sum", "/bin")
    assert made["HILBERT_MODE"] == "classic"
    assert made["HILBERT_HANDLER"] == "/home/app/handler.py"
    assert made["HILBERT_LAYERS"] == "/opt/layers/a:/opt/layers/b"
    assert (made["OPENFAAS_NAME"], made["OPENFAAS_NAMESPACE"]) == ("f", DEFAULT_NAMESPACE)
    assert made["HOSTNAME"].startswith("f-")
    assert environment(manifest)["fprocess"] == "cat"
    assert environment(manifest, env={"fprocess": "wc"})["fprocess"] == "wc"
    assert environment(manifest)["PATH"].startswith("/opt/python/bin:/usr/local/sbin:")


def test_the_function_s_mode_wins_where_there_is_a_process_to_run() -> None:
    fork = Manifest(mode=Mode.CLASSIC, process="cat")
    assert environment(fork, env={"mode": "streaming"})["HILBERT_MODE"] == "streaming"
    assert environment(fork, env={"mode": "nonsense"})["HILBERT_MODE"] == "classic"
    handler = Manifest(mode=Mode.PYTHON, handler="handler.py")
    assert environment(handler, env={"mode": "http"})["HILBERT_MODE"] == "python"


def test_a_sandbox_without_unix_sockets_gives_a_port_instead() -> None:
    changed = without_unix_upstream({"upstream_url": "unix:upstream.sock", "other": "unix:x"})
    assert changed["upstream_url"].startswith("http://127.0.0.1:")
    assert changed["other"] == "unix:x"
    assert without_unix_upstream({"upstream_url": "http://127.0.0.1:5000"})["upstream_url"].endswith(":5000")


@pytest.mark.parametrize("path", ["", "health", "/a b", "/a\r\nHost: x", "/ä", None])
def test_a_probe_s_path_is_one_or_the_default(path: str | None) -> None:
    assert safe_path(path, "/_/ready") == "/_/ready"
    assert safe_path("/healthz?full=1", "/_/ready") == "/healthz?full=1"
