"""The route table on its way to the workers, counters on their way back, and what happens when one of them dies."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from hilbert.core.model import CallPolicy, Route
from hilbert.core.values import FunctionRef
from hilbert.dataplane.feed.messages import Used
from support.dataplane import Plane, until
from support.replicas import Call, Replica
from support.wire import Closed


@pytest.fixture
def two() -> Iterator[Plane]:
    """Two workers on one port."""
    made = Plane(workers=2)
    yield made
    made.close()


def ref(name: str, namespace: str = "openfaas-fn") -> FunctionRef:
    return FunctionRef(namespace, name)  # type: ignore[arg-type]  # names made here


def counted(plane: Plane, name: str) -> dict[int, int]:
    """Finished calls by status code."""
    calls = plane.totals.functions().get(ref(name))
    return {code: one.count for code, one in calls.codes.items()} if calls is not None else {}


def test_worker_without_a_table_says_so() -> None:
    """503 with Retry-After, never a false 404; calls pass once the table comes."""
    plane = Plane(routes=False)
    try:
        answer = plane.call("/function/x")
        assert (answer.status, answer.get("Retry-After"), answer.get("X-Hilbert-Error")) == (
            503,
            b"1",
            b"no-route-table",
        )
        plane.run(plane.feed.reset, [Route("openfaas-fn", "x", (plane.replica().endpoint,))])
        until(lambda: plane.call("/function/x").status == 200, what="the table")
    finally:
        plane.close()


def test_table_outlives_the_control_plane(plane: Plane) -> None:
    """Warm calls go on; on return the worker agrees with it, without drift, and its counters are there again."""
    name, (replica,) = plane.function()
    stale, _ = plane.function()
    assert plane.call(f"/function/{name}").status == 200
    before = dict(plane.feed._routes)
    plane.stop_feed()
    until(lambda: not plane.totals.workers(), what="the worker to be cut off")
    for _ in range(5):
        assert plane.call(f"/function/{name}").status == 200
    assert plane.call(f"/function/{stale}").status == 200
    plane.totals = type(plane.totals)()  # The new control process knows nothing.
    plane.start_feed()
    assert plane.call(f"/function/{name}").status == 200
    del before["openfaas-fn", stale]
    plane.run(plane.feed.reset, list(before.values()))
    plane.settle()
    assert plane.call(f"/function/{stale}").status == 404
    assert plane.call(f"/function/{name}").status == 200
    until(lambda: counted(plane, name) == {200: 8}, what="the counters")
    assert plane.totals.route_drift == 0
    assert len(replica.calls) == 8


def test_call_under_way_outlives_a_change_of_its_route(plane: Plane) -> None:
    """Also its removal."""
    go = threading.Event()
    name, _ = plane.function(lambda call: go.wait(20) and call.answer(b"done"))
    with plane.connect() as wire:
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        until(lambda: plane.replicas[-1].calls, what="the call to arrive")
        plane.put(name, policy=CallPolicy(total=5.0))
        plane.drop(name)
        assert plane.call(f"/function/{name}").status == 404
        go.set()
        assert wire.response().body == b"done"


def test_changes_in_any_order_arrive(plane: Plane) -> None:
    """Many changes in one turn are one delta; the last one counts."""
    replica = plane.replica()

    def change() -> None:
        for number in range(300):
            plane.feed.put(Route("many", f"n{number}", (replica.endpoint,)))
        for number in range(0, 300, 3):
            plane.feed.drop(ref(f"n{number}", "many"))
        for number in range(0, 300, 6):
            plane.feed.put(Route("many", f"n{number}", ()))

    version = plane.feed.version
    plane.run(change)
    plane.settle()
    assert plane.feed.version == version + 1
    assert plane.call("/function/n1.many").status == 200
    assert plane.call("/function/n3.many").status == 404
    assert plane.totals.route_drift == 0
    plane.run(lambda: [plane.feed.drop(ref(f"n{number}", "many")) for number in range(300)])
    plane.settle()


def test_counters(plane: Plane) -> None:
    """Started, finished by code, durations; errors of the gateway's own count as what was answered."""
    name, _ = plane.function(lambda call: call.answer(status=int(call.head.target[1:])))
    for status in (200, 200, 404, 500):
        assert plane.call(f"/function/{name}/{status}").status == status
    until(lambda: counted(plane, name) == {200: 2, 404: 1, 500: 1}, what="the counts")
    calls = plane.totals.functions()[ref(name)]
    assert (calls.started, calls.inflight, calls.waiting) == (4, 0, 0)
    assert list(calls.codes[200].buckets)[-1] == 2
    assert calls.codes[200].seconds > 0


def test_calls_under_way_are_counted(plane: Plane) -> None:
    """And one whose client left is 499."""
    name, _ = plane.function(lambda call: call.wire.some())
    wire = plane.connect()
    wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    until(lambda: (calls := plane.totals.functions().get(ref(name))) and calls.inflight == 1, what="the call")
    wire.close()
    until(lambda: counted(plane, name) == {499: 1}, what="its end")
    assert plane.totals.functions()[ref(name)].inflight == 0


def test_function_made_again_starts_from_zero(plane: Plane) -> None:
    """Also when it is removed and made again in one moment."""
    name, (replica,) = plane.function()
    for _ in range(3):
        plane.call(f"/function/{name}")
    until(lambda: counted(plane, name) == {200: 3}, what="the counts")

    def again() -> None:
        plane.feed.drop(ref(name))
        plane.feed.put(Route("openfaas-fn", name, (replica.endpoint,)))

    plane.run(again)
    assert counted(plane, name) == {}
    plane.settle()
    plane.call(f"/function/{name}")
    until(lambda: counted(plane, name) == {200: 1}, what="the new count")


def test_killed_worker_loses_only_its_calls(two: Plane) -> None:
    """The other goes on; what waits in the dead one's queue is served by the next; counters never go backwards."""
    name, _ = two.function()
    for _ in range(20):
        assert two.call(f"/function/{name}").status == 200
    until(lambda: counted(two, name) == {200: 20}, what="both workers' counts")
    two.kill_worker(0)
    assert counted(two, name) == {200: 20}
    queued = []
    while len(queued) < 20:
        wire = two.connect()
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        queued.append(wire)
    two.workers[0] = two.start_worker(0)
    for wire in queued:
        assert wire.response().status == 200
        wire.close()
    until(lambda: counted(two, name) == {200: 40}, what="all counts")
    assert len(two.totals.workers()) == 2
    assert two.totals.route_drift == 0


def test_both_workers_take_calls(two: Plane) -> None:
    """Each has its share of the connections."""
    name, _ = two.function()
    for _ in range(60):
        assert two.call(f"/function/{name}").status == 200
    until(lambda: counted(two, name) == {200: 60}, what="the counts")
    shares = [routes["openfaas-fn", name].started for routes in two.totals._live.values()]
    assert len(shares) == 2
    assert min(shares) > 0


def test_worker_that_is_told_to_stop_answers_what_it_has() -> None:
    """The call under way ends in peace, an idle connection gets one more answer with `Connection: close`."""
    plane = Plane()
    try:
        go = threading.Event()
        name, (replica,) = plane.function(
            lambda call: (call.head.target == b"/slow" and go.wait(20), call.answer(b"ok"))
        )
        ask = f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with plane.connect() as slow, plane.connect() as idle:
            slow.send(ask.replace(b" HTTP", b"/slow HTTP"))
            idle.send(ask)
            assert idle.response().body == b"ok"
            until(lambda: len(replica.calls) == 2, what="both calls")
            plane.workers[0].send_signal(signal.SIGTERM)
            until(lambda: _refused(plane), what="the worker to stop listening")
            idle.send(ask)
            answer = idle.response()
            assert (answer.body, answer.get("Connection")) == (b"ok", b"close")
            assert plane.workers[0].poll() is None
            go.set()
            assert slow.response().get("Connection") == b"close"
        assert plane.workers[0].wait(20) == 0
        assert counted(plane, name) == {200: 3}  # Its last counters came before it left.
    finally:
        plane.close()


def _refused(plane: Plane) -> bool:
    """The supervisor's copy of the socket listens on; so look at who serves."""
    import psutil

    worker = psutil.Process(plane.workers[0].pid)
    return not any(one.status == "LISTEN" for one in worker.net_connections("tcp"))


def test_rolling_restart_under_load(two: Plane) -> None:
    """New worker on the same socket, then the old one is told to stop: no call of a steady client fails."""
    name, _ = two.function()
    stop = threading.Event()
    failures: list[str] = []
    done = [0] * 8

    def client(number: int) -> None:
        ask = f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx".encode()
        wire = two.connect()
        while not stop.is_set():
            try:
                wire.send(ask)
                answer = wire.response()
            except (OSError, Closed) as exc:
                failures.append(repr(exc))
                return
            if answer.status != 200:
                failures.append(answer.start.decode())
            done[number] += 1
            if answer.get("Connection") == b"close":
                wire.close()
                wire = two.connect()
        wire.close()

    clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for one in clients:
        one.start()
    for index in (0, 1):
        old = two.workers[index]
        two.workers[index] = two.start_worker(index)
        old.send_signal(signal.SIGTERM)
        assert old.wait(20) == 0
    marks = list(done)
    until(lambda: all(now > then for now, then in zip(done, marks, strict=True)), what="every client to go on")
    stop.set()
    for one in clients:
        one.join()
    assert failures == []


def test_scaling_under_load(plane: Plane) -> None:
    """10 to 1 to 10 to 0 to 3, replicas leaving the table before they stop: no call fails."""
    name, replicas = plane.function(replicas=10)
    stop = threading.Event()
    statuses: list[int] = []

    def client() -> None:
        while not stop.is_set():
            statuses.append(plane.call(f"/function/{name}", b"x").status)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()

    def scale(count: int) -> None:
        nonlocal replicas
        kept, leaving = replicas[:count], replicas[count:]
        kept += [plane.replica() for _ in range(count - len(kept))]
        plane.put(name, *(one.endpoint for one in kept))
        for one in leaving:
            quiet(one)
            one.stop()
        replicas = kept

    def quiet(one: Replica) -> None:
        """The drain delay: until the calls that were on their way have come and gone."""
        seen = -1
        while seen != len(one.calls):
            seen = len(one.calls)
            threading.Event().wait(0.1)

    for count in (1, 10, 0, 3):
        scale(count)
        mark = len(statuses)
        if count:
            until(lambda mark=mark: len(statuses) > mark + 20, what="calls to go on")
    stop.set()
    for one in clients:
        one.join()
    assert set(statuses) == {200}


def test_access_log() -> None:
    """Off by default; one structured line a call, with its wait and its duration apart; nothing in it steers a terminal."""
    quiet, loud = Plane(), Plane(access_log=True)
    try:
        for plane in (quiet, loud):
            name, _ = plane.function()
            plane.call(f"/function/{name}/a%20b\u009b?q", headers="X-Call-Id: c1")
        line = until(
            lambda: next((one for one in loud.log.read_text().splitlines() if '"call_id"' in one), ""), what="the line"
        )
        entry = json.loads(line)
        assert (entry["function"], entry["method"], entry["path"]) == (
            f"{name}.openfaas-fn",
            "GET",
            r"/a%20b\xc2\x9b?q",
        )
        assert (entry["status"], entry["call_id"]) == (200, "c1")
        assert entry["wait"] >= 0
        assert entry["call"] > 0
        assert '"call_id"' not in quiet.log.read_text()
    finally:
        quiet.close()
        loud.close()


def test_feed_that_talks_nonsense() -> None:
    """The worker leaves it, keeps its table and comes back."""
    plane = Plane()
    try:
        name, _ = plane.function()
        link = next(iter(plane.feed._links))
        plane.run(lambda: link._write(b"\x00\x00\x00\x05hello"))
        until(lambda: plane.feed._links and link not in plane.feed._links, what="the worker to come back")
        plane.settle()
        assert plane.call(f"/function/{name}").status == 200
        plane.log.write_text("")  # The traceback in it is the one that was asked for.
    finally:
        plane.close()


def test_feed_takes_no_nonsense() -> None:
    """A stranger on the socket is cut off; the worker is not disturbed."""
    plane = Plane()
    try:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(plane.folder / "feed.sock"))
            stranger.sendall(b"\xff\xff\xff\xff")
            assert stranger.recv(10) == b""
        name, _ = plane.function()
        assert plane.call(f"/function/{name}").status == 200
    finally:
        plane.close()


def test_bytes_of_bodies_are_counted_whole_or_in_parts(plane: Plane) -> None:
    """Of requests and of answers; headers and the framing of chunks are not."""

    def answer(call: Call) -> None:
        call.body()
        if call.head.target.endswith(b"/parts"):
            call.wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            call.wire.send(b"4\r\ndefg\r\n0\r\n\r\n")
        else:
            call.answer(b"x" * 100)

    name, _ = plane.function(answer)
    assert plane.call(f"/function/{name}", b"y" * 1000).status == 200
    with plane.connect() as wire:
        wire.send(f"POST /function/{name}/parts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        wire.send(b"5\r\nhello\r\n")
        wire.send(b"0\r\n\r\n")
        assert wire.response().body == b"abcdefg"
    until(lambda: counted(plane, name) == {200: 2}, what="the counts")
    calls = plane.totals.functions()[ref(name)]
    assert (calls.received, calls.sent) == (1005, 107)


def test_each_call_is_told_until_it_is_kept() -> None:
    """Where a webhook asks for it: also over a control process that goes away before it has kept them."""
    plane = Plane()
    told: list[Used] = []
    plane.feed.on_used = lambda _worker, used: told.append(used)
    try:
        name, _ = plane.function()
        plane.call(f"/function/{name}", b"abc")
        until(lambda: counted(plane, name) == {200: 1}, what="the count")
        assert told == [], "nobody asked for it"
    finally:
        plane.close()
    plane = Plane(flags={"usage.webhook_url": "http://127.0.0.1:1/"})
    try:
        plane.feed.on_used = lambda _worker, used: told.append(used)
        name, _ = plane.function()
        plane.call(f"/function/{name}", b"abc")
        until(lambda: told, what="the call")
        (one,) = told[0].calls
        assert (one.namespace, one.name, one.status, one.received, one.sent) == ("openfaas-fn", name, 200, 3, 3)
        assert (one.started_ns > 0, 0 < one.seconds < 60, one.is_queued) == (True, True, False)
        plane.stop_feed()
        plane.start_feed()
        again: list[Used] = []
        plane.feed.on_used = lambda _worker, used: again.append(used)
        plane.run(plane.feed.reset, [])
        until(lambda: again == told, what="the same once more")
    finally:
        plane.close()
