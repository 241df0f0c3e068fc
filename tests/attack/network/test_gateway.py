"""The gateway as functions see it, and what they can do to it: who they are is what their network says, not what they say."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from attack.network import neighbour
from support.networks import NetworkedPlatform

_ASK = """
import json, urllib.request, urllib.error
request = urllib.request.Request({url!r}, data={body!r}, headers={headers!r}, method={method!r})
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        print(json.dumps([answer.status, answer.read().decode(errors="replace").strip()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode(errors="replace").strip()]))
except Exception as exc:
    print(json.dumps([0, type(exc).__name__]))
"""


def ask(
    platform: NetworkedPlatform,
    function: str,
    url: str,
    body: bytes | None = None,
    *,
    method: str = "",
    **headers: str,
) -> tuple[int, str]:
    """What a function gets when it asks for a URL: status and text."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    code = _ASK.format(url=url, body=body, headers=named, method=method or ("GET" if body is None else "POST"))
    status, text = json.loads(platform.python(function, code))
    return status, text


@pytest.fixture(scope="module")
def tenants(platform: NetworkedPlatform) -> NetworkedPlatform:
    """`probe` in the default namespace, `probe` and `only` in `dev`, and in `open` a function that all may call."""
    platform.namespace("dev")
    platform.namespace("open", com__hilbert__ingress="all")
    platform.probe("probe", "dev")
    for name, namespace in (("only", "dev"), ("shared", "open")):
        platform.deploy(name, namespace, envProcess=f"echo {name} of {namespace}")
    return platform


@pytest.mark.parametrize("host", ["gateway", "gateway.openfaas", "gateway.openfaas.svc.cluster.local"])
def test_functions_call_functions_of_their_own_namespace(tenants: NetworkedPlatform, host: str) -> None:
    for name in ("only", "only.dev"):
        assert ask(tenants, "probe.dev", f"http://{host}:8080/function/{name}") == (200, "only of dev")
    code = b"import os; print(os.environ['OPENFAAS_NAMESPACE'])"
    assert ask(tenants, "probe.dev", f"http://{host}:8080/function/probe", code) == (200, "dev"), (
        "its own, not the default's"
    )
    assert ask(tenants, "probe", f"http://{host}:8080/function/probe", code) == (200, "openfaas-fn")


def test_another_namespace_looks_as_if_it_were_not_there(tenants: NetworkedPlatform) -> None:
    status, text = ask(tenants, "probe", "http://gateway:8080/function/only.dev")
    assert status == 404
    assert ask(tenants, "probe", "http://gateway:8080/function/nope.dev") == (404, text.replace("only", "nope"))
    assert ask(tenants, "probe", "http://gateway:8080/function/only")[0] == 404
    assert ask(tenants, "probe.dev", "http://gateway:8080/function/probe.openfaas-fn")[0] == 404


def test_a_namespace_can_let_all_call_it(tenants: NetworkedPlatform) -> None:
    for caller in ("probe", "probe.dev"):
        assert ask(tenants, caller, "http://gateway:8080/function/shared.open") == (200, "shared of open")
        assert ask(tenants, caller, "http://gateway:8080/function/shared")[0] == 404


def test_functions_queue_calls_of_their_own_namespace_alone(tenants: NetworkedPlatform) -> None:
    url = "http://gateway:8080/async-function/"
    for name in ("only", "only.dev"):
        assert ask(tenants, "probe.dev", f"{url}{name}", b"x") == (202, "")
    status, text = ask(tenants, "probe", f"{url}only.dev", b"x")
    assert status == 404
    assert ask(tenants, "probe", f"{url}nope.dev", b"x") == (404, text.replace("only", "nope"))
    assert ask(tenants, "probe", f"{url}only", b"x")[0] == 404
    assert ask(tenants, "probe.dev", f"{url}probe.openfaas-fn", b"x")[0] == 404


def test_nothing_that_a_caller_says_makes_it_another(tenants: NetworkedPlatform) -> None:
    lies = {
        "Host": "gateway.dev",
        "X_Forwarded_For": "127.0.0.1",
        "Forwarded": "for=127.0.0.1;host=gateway.dev",
        "X_Hilbert_Namespace": "dev",
        "OpenFaaS_Namespace": "dev",
    }
    for name, value in lies.items():
        assert ask(tenants, "probe", "http://gateway:8080/function/only.dev", **{name: value})[0] == 404
    for path in (
        "/function/only.dev/",
        "/function/ONLY.dev",
        "/function//only.dev",
        "/function/only%2Edev",
        "//function/only.dev",
    ):
        assert ask(tenants, "probe", f"http://gateway:8080{path}")[0] in (400, 404)


def test_the_rest_api_needs_credentials(tenants: NetworkedPlatform) -> None:
    url = "http://gateway:8080/system/functions"
    assert ask(tenants, "probe", url)[0] == 401
    wrong = b64encode(b"admin:wrong").decode()
    assert ask(tenants, "probe", url, Authorization=f"Basic {wrong}")[0] == 401
    right = b64encode(f"admin:{tenants.password}".encode()).decode()
    status, text = ask(tenants, "probe", url, Authorization=f"Basic {right}")
    assert status == 200
    assert "probe" in text


@pytest.mark.parametrize(
    "path", ["/metrics", "/ui/", "/", "/healthz", "/system/../metrics", "/system", "/openapi.json", "*"]
)
def test_nothing_else_of_the_platform_is_there(tenants: NetworkedPlatform, path: str) -> None:
    right = b64encode(f"admin:{tenants.password}".encode()).decode()
    status, text = ask(tenants, "probe", f"http://gateway:8080{path}", Authorization=f"Basic {right}")
    assert status in (0, 400, 404)
    assert "hilbert_" not in text
    assert "gateway_function" not in text


def test_the_gateways_own_port_cannot_be_taken(tenants: NetworkedPlatform) -> None:
    """Neither beside it (`SO_REUSEPORT`) nor on another address family: a function binds in a network of its own."""
    port = int(tenants.url.rpartition(":")[2])
    code = f"""
import json, socket, threading, time
def serve(server):
    while True:
        client, _ = server.accept()
        client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nstolen")
        client.close()
bound = []
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")):
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        server.bind((host, {port})); server.listen(64)
    except OSError:
        continue
    bound.append(host)
    threading.Thread(target=serve, args=(server,), daemon=True).start()
print(json.dumps(bound), flush=True)
time.sleep(2)
"""
    tenants.deploy("thief", envProcess="python3 -", envVars={"mode": "streaming"})
    import threading

    stealing = threading.Thread(target=tenants.python, args=("thief", code))
    with neighbour.served(tenants):
        stealing.start()
        try:
            while stealing.is_alive():
                answer = tenants.api("GET", "/system/functions")
                assert "stolen" not in answer.text
                assert ask(tenants, "probe.dev", "http://gateway:8080/function/only") == (200, "only of dev")
        finally:
            stealing.join()


def test_the_gateways_place_inside_cannot_be_taken(tenants: NetworkedPlatform) -> None:
    """A function that listens on `gateway:8080` itself still reaches the gateway there, and cannot bind where that listens."""
    code = """
import socket, urllib.request
def bind(port, reuse):
    server = socket.socket()
    if reuse:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        server.bind(("127.0.0.80", port)); server.listen()
    except OSError as exc:
        return type(exc).__name__
    keep.append(server)
    return "bound"
keep = []
print(*[bind(port, reuse) for port in (1, 53) for reuse in (False, True)], bind(8080, True))
print(urllib.request.urlopen("http://gateway:8080/function/only", timeout=5).read().decode().strip())
"""
    assert tenants.python("probe.dev", code).splitlines() == [
        "PermissionError PermissionError PermissionError PermissionError bound",
        "only of dev",
    ]


def test_a_namespaces_connections_are_bounded(tenants: NetworkedPlatform) -> None:
    """A function that opens connections without end takes none of another's place."""
    code = """
import socket
kept, refused = [], 0
for _ in range(900):
    try:
        kept.append(socket.create_connection(("gateway", 8080), 5))
    except OSError:
        refused += 1
import urllib.request
print(len(kept) > 0)
import time; time.sleep(1.5)
"""
    import threading

    opening = threading.Thread(target=tenants.python, args=("probe.dev", code))
    opening.start()
    try:
        while opening.is_alive():
            assert ask(tenants, "probe", "http://gateway:8080/function/shared.open") == (200, "shared of open")
    finally:
        opening.join()
