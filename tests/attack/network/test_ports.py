"""Fixed ports: any number of replicas, of any tenant, listen on the same one, and nobody answers for another."""

from __future__ import annotations

import pytest

from support.networks import NetworkedPlatform
from support.platform import until

_SERVE = """python3 -c "
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ['WHO'].encode() + b' ' + str(os.stat('/proc/self/ns/net').st_ino).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('{host}', {port}), Answer).serve_forever()
" """


def serving(who: str, port: int, host: str = "127.0.0.1") -> dict[str, object]:
    command = _SERVE.format(host=host, port=port)
    variables = {"mode": "http", "upstream_url": f"http://127.0.0.1:{port}", "WHO": who, "CODE": command}
    return {"envProcess": "sh -c 'eval \"$CODE\"'", "envVars": variables}


@pytest.mark.parametrize(("port", "host"), [(5000, "127.0.0.1"), (8080, "0.0.0.0"), (8082, "127.0.0.1")])
def test_replicas_of_two_tenants_listen_on_one_port(platform: NetworkedPlatform, port: int, host: str) -> None:
    platform.namespace("second")
    for namespace in ("openfaas-fn", "second"):
        labels = {"com.openfaas.scale.min": "3"}
        body = {"service": f"p{port}", "image": "hilbert/alpine", "namespace": namespace, "labels": labels}
        answer = platform.api("POST", "/system/functions", {**body, **serving(namespace, port, host)})
        assert answer.status == 202, answer.text
    for namespace in ("openfaas-fn", "second"):
        platform.until_available(f"p{port}", namespace, replicas=3)
        seen = set()
        for _ in range(60):
            who, network = platform.call(f"/function/p{port}.{namespace}").text.split()
            assert who == namespace
            seen.add(network)
        assert len(seen) == 3, "each replica has a network of its own"


def test_a_process_that_never_listens_is_not_ready(platform: NetworkedPlatform) -> None:
    """Although another tenant's listens on the very same port."""
    platform.namespace("second")
    platform.deploy("listens", "second", **serving("second", 29563))
    silent = {"mode": "http", "upstream_url": "http://127.0.0.1:29563"}
    body = {"service": "silent", "image": "hilbert/alpine", "envProcess": "sleep 600", "envVars": silent}
    assert platform.api("POST", "/system/functions", body).status == 202
    for _ in range(20):
        assert "second" not in platform.call("/function/listens.second").text.replace("second ", "", 1)
        assert not platform.status("silent").get("availableReplicas")
    assert platform.api("DELETE", "/system/functions", {"functionName": "silent"}).status in (200, 202)


def test_an_update_serves_until_the_new_one_listens(platform: NetworkedPlatform) -> None:
    platform.deploy("updated", **serving("first", 5000))
    assert platform.call("/function/updated").text.startswith("first ")
    body = {"service": "updated", "image": "hilbert/alpine", **serving("later", 5000)}
    assert platform.api("PUT", "/system/functions", body).status in (200, 202)

    def later() -> bool:
        answer = platform.call("/function/updated")
        assert answer.status == 200, answer.text
        return answer.text.startswith("later ")

    until(later, within=30, what="the update")


@pytest.mark.parametrize("network", ["tenant", "host"])
def test_a_port_that_another_tenant_grabs_before_its_owner_binds_it(platform: NetworkedPlatform, network: str) -> None:
    """Between the choice of a port and its bind lies time, and another tenant knows the port: it listens there first.

    On networks of their own this gains nothing. On the host's network, which is shared, the owner's calls go to the thief: that
    shows what the first half is worth. There a strict installation starts nothing.
    """
    port = 29571 if network == "tenant" else 29572
    owners, thieves = f"owners-{network}", f"thieves-{network}"
    for namespace in (owners, thieves):
        platform.namespace(namespace, com__hilbert__network=network)
    thief = serving("thief", port, "0.0.0.0")
    answer = platform.api(
        "POST", "/system/functions", {"service": "thief", "namespace": thieves, "image": "hilbert/alpine", **thief}
    )
    if network == "host" and answer.status != 202:
        assert "network missing" in answer.text, "an installation that is strict starts nothing on the host's network"
        return
    platform.until_available("thief", thieves)
    owner = serving("owner", port)
    owner["envVars"]["CODE"] = f"sleep 1; {owner['envVars']['CODE']}"  # type: ignore[index]
    body = {"service": "owner", "namespace": owners, "image": "hilbert/alpine", **owner}
    assert platform.api("POST", "/system/functions", body).status == 202
    answer = platform.call(f"/function/owner.{owners}")
    assert answer.status == 200, answer.text
    assert answer.text.split()[0] == ("owner" if network == "tenant" else "thief")
    for name, namespace in (("owner", owners), ("thief", thieves)):
        gone = platform.api("DELETE", "/system/functions", {"functionName": name, "namespace": namespace})
        assert gone.status in (200, 202), gone.text
