"""Calls from functions: their connections are handed over with the namespace that they come from."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from hilbert.core.limits import CallLimits
from hilbert.kit import handover
from support.dataplane import Plane, until
from support.wire import Closed, Wire

NAMESPACE = "dev"


class Keeper:
    """The other side of the socket."""

    def __init__(self, plane: Plane) -> None:
        self.listener = handover.listen(plane.folder / "inside.sock")
        self.listener.settimeout(20)
        self.worker, _ = self.listener.accept()
        self.ends: list[socket.socket] = []

    def connect(self, namespace: str = NAMESPACE) -> Wire:
        """A function's end of a connection that a worker has now."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
        with theirs:
            handover.send(self.worker, namespace.encode(), [theirs.fileno()])
        self.ends.append(ours)
        return Wire(ours)

    def close(self) -> None:
        for sock in (*self.ends, self.worker, self.listener):
            sock.close()


@pytest.fixture
def plane() -> Iterator[Plane]:
    plane = Plane(max_connections=200)
    yield plane
    plane.close()


@pytest.fixture
def keeper(plane: Plane) -> Iterator[Keeper]:
    keeper = Keeper(plane)
    yield keeper
    keeper.close()


def get(wire: Wire, path: str, *headers: bytes) -> tuple[int, bytes]:
    lines = b"".join(b"%b\r\n" % header for header in (b"Host: gateway:8080", *headers))
    wire.send(b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), lines))
    answer = wire.response()
    return answer.status, answer.body


def test_names_are_those_of_the_callers_namespace(plane: Plane, keeper: Keeper) -> None:
    for name, namespace in (("f", "openfaas-fn"), ("g", NAMESPACE)):
        plane.put(name, plane.replica().endpoint, namespace=namespace)
    wire = keeper.connect()
    assert get(wire, "/function/g")[0] == 200
    assert get(wire, "/function/g.dev/path?x=1")[0] == 200
    assert get(wire, "/function/f")[0] == 404
    assert get(wire, "/function/f.openfaas-fn")[0] == 404
    assert get(keeper.connect("openfaas-fn"), "/function/f")[0] == 200
    assert get(keeper.connect("openfaas-fn"), "/function/g.dev")[0] == 404


def test_a_head_that_was_seen_outside_means_another_function_inside(plane: Plane, keeper: Keeper) -> None:
    """Heads are kept by their bytes; what they mean depends on the connection."""
    plane.put("f", plane.replica().endpoint)
    for _ in range(4):
        assert plane.call("/function/f").status == 200
        with Wire.to(("127.0.0.1", plane.sockets[0].getsockname()[1])) as outside:
            assert get(outside, "/function/f")[0] == 200
        assert get(keeper.connect(), "/function/f")[0] == 404


def test_other_namespaces_answer_where_they_are_open(plane: Plane, keeper: Keeper) -> None:
    plane.put("f", plane.replica().endpoint, namespace="open", open_to_all=True)
    wire = keeper.connect()
    assert get(wire, "/function/f.open")[0] == 200
    assert get(wire, "/function/f")[0] == 404
    plane.put("f", plane.replica().endpoint, namespace="open")
    assert get(wire, "/function/f.open")[0] == 404


def test_what_is_refused_and_what_does_not_exist_look_alike(plane: Plane, keeper: Keeper) -> None:
    plane.put("secret", plane.replica().endpoint, namespace="other")
    wire = keeper.connect()
    there, absent = get(wire, "/function/secret.other"), get(wire, "/function/absent.other")
    assert (there[0], there[1].replace(b"secret", b"absent")) == absent


def test_a_namespaces_own_limit_counts_its_connections(plane: Plane, keeper: Keeper) -> None:
    """One too many is closed; when another has gone there is room again."""
    plane.put("f", plane.replica().endpoint, namespace=NAMESPACE, namespace_limits=CallLimits(connections=1))
    first = keeper.connect()
    assert get(first, "/function/f")[0] == 200
    with pytest.raises((Closed, OSError)):
        get(keeper.connect(), "/function/f")
    assert get(keeper.connect("openfaas-fn"), "/function/f")[0] == 404
    first.close()

    def answers() -> bool:
        wire = keeper.connect()
        try:
            return get(wire, "/function/f")[0] == 200
        except (Closed, OSError):
            return False

    until(answers, what="room again")


def test_the_rest_api_and_nothing_beside_it(plane: Plane, keeper: Keeper) -> None:
    control = plane.start_control(lambda call: call.answer(b"the REST API"))
    wire = keeper.connect()
    credentials = b"Authorization: Basic YWRtaW46eA=="
    assert get(wire, "/system/functions")[0] == 401
    assert get(wire, "/system/functions", credentials) == (200, b"the REST API")
    for path in ("/metrics", "/ui/", "/", "/healthz", "/system/../metrics", "/systems", "//system/functions"):
        assert get(wire, path, credentials)[0] == 404
    assert len(control.calls) == 1


def test_the_callers_address_is_its_namespaces(plane: Plane, keeper: Keeper) -> None:
    """Whatever it says: it is told from others by it, and by nothing else that is counted by source."""
    seen: list[bytes] = []
    replica = plane.replica(lambda call: (seen.append(call.head.get("X-Forwarded-For")), call.answer(b""))[-1])
    plane.put("f", replica.endpoint, namespace=NAMESPACE, open_to_all=True)
    for namespace in (NAMESPACE, NAMESPACE, "other"):
        assert get(keeper.connect(namespace), "/function/f.dev", b"X-Forwarded-For: 192.0.2.1")[0] == 200
    assert seen[0] == seen[1] != seen[2]
    assert all(64 <= int(one.split(b".")[1]) < 128 and one.startswith(b"127.") for one in seen)


@pytest.mark.bound("inside-connections")
def test_a_namespaces_connections_are_bounded(plane: Plane, keeper: Keeper) -> None:
    """An eighth of the worker's for one; nobody else's place is taken."""
    plane.put("f", plane.replica().endpoint, namespace=NAMESPACE, open_to_all=True)
    wires = [keeper.connect() for _ in range(25)]
    assert all(get(wire, "/function/f")[0] == 200 for wire in wires)
    beyond = keeper.connect()
    beyond.sock.settimeout(20)
    assert beyond.sock.recv(1) == b""
    assert get(keeper.connect("other"), "/function/f.dev")[0] == 200
    assert plane.call("/function/f.dev").status == 200
    wires.pop().sock.close()

    def again() -> bool:
        wire = keeper.connect()
        try:
            return get(wire, "/function/f")[0] == 200
        except Exception:
            return False

    from support.dataplane import until

    until(again, what="room for another")


def test_a_keeper_that_comes_back_is_found(plane: Plane, keeper: Keeper) -> None:
    plane.put("f", plane.replica().endpoint, namespace=NAMESPACE)
    wire = keeper.connect()
    assert get(wire, "/function/f")[0] == 200
    keeper.worker.close()
    keeper.listener.close()
    assert get(wire, "/function/f")[0] == 200, "connections outlive it"
    other = Keeper(plane)
    assert get(other.connect(), "/function/f")[0] == 200
    other.close()


def test_a_call_is_queued_for_the_callers_namespace(plane: Plane, keeper: Keeper) -> None:
    """The REST API is asked for the function's full name, whatever was said before on the same head."""
    plane.put("g", plane.replica().endpoint, namespace=NAMESPACE)
    plane.put("f", plane.replica().endpoint, namespace="open", open_to_all=True)
    plane.put("h", plane.replica().endpoint, namespace="other")
    asked: list[bytes] = []
    plane.start_control(lambda call: (asked.append(call.head.start), call.answer(b"", status=202))[-1])
    wire = keeper.connect()

    def ask(path: str, method: str = "POST") -> int:
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: gateway:8080\r\nContent-Length: 0\r\n\r\n".encode())
        return wire.response().status

    for path in (
        "/async-function/g",
        "/async-function/g?x=1",
        "/async-function/g.dev/a%2Fb?c",
        "/async-function/f.open",
    ):
        assert ask(path) == 202
    assert [line.split()[1] for line in asked] == [
        b"/async-function/g.dev",
        b"/async-function/g.dev?x=1",
        b"/async-function/g.dev/a%2Fb?c",
        b"/async-function/f.open",
    ]
    for path in ("/async-function/f", "/async-function/h.other", "/async-function/absent", "/async-function/"):
        assert ask(path) == 404
    assert ask("/async-function/5b0c2b3e-9d3c-4d0a-9a55-3f5f0f4e8a11", "DELETE") == 202
    for method in ("GET", "PUT"):
        assert ask("/async-function/5b0c2b3e-9d3c-4d0a-9a55-3f5f0f4e8a11", method) == 404
    assert len(asked) == 5
