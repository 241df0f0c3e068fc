"""What it costs in the worker that a function asks its callers who they are: beside the same function open to all."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from bench import load, peers, proxying
from bench.report import Section
from hilbert.core.model import Endpoint
from hilbert.dataplane.feed.messages import CallKey, CallKeys

ISSUER = "https://functions.example.com"
TOKEN = "hilbert_0123456789abcdef_" + "0" * 64


def section(up: peers.Upstream, where: Path, *, rounds: int, seconds: float) -> Section:
    found = Section(
        "Functions that ask their callers who they are",
        "One worker on core 0, small GETs by `wrk` with 32 kept connections from core 1, where the upstream is. Each row's requests go to the "
        "same function open to all and guarded, with the same headers, in many short rounds, now the one first and now the other. Processor "
        "time is the worker's; `more` is the median of the rounds.",
        ["credentials", "heads", "open, requests/s", "guarded", "open, processor µs/request", "guarded", "more"],
    )
    private = generate_private_key(SECP256R1())
    jwk = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": ISSUER, "sub": "fed:alice", "iat": now, "exp": now + 86_400,
        "function": {"permissions": ["openfaas-fn:*"]},
    }  # fmt: skip
    token = jwt.encode(claims, private, algorithm="ES256", headers={"kid": "one"})
    digest = hashlib.sha256(TOKEN.rpartition("_")[2].encode()).digest()
    key = CallKey(id="0123456789abcdef", name="bench", digest=digest, namespaces=["openfaas-fn"], may_call=True)
    with proxying.hilbert(up) as (plane, peer):
        plane.put("kept", Endpoint("k", f"unix:{up.path}"), guarded=True)
        plane.run(plane.feed.tell_keys, CallKeys(ISSUER, [{**jwk, "kid": "one"}], [key]))
        plane.put("settled", Endpoint("s", f"unix:{up.path}"))
        for what, credentials in (("a token of the gateway", TOKEN), ("a function token", token)):
            for heads in ("the same", "all different"):
                scripts = {name: _script(where, name, credentials, vary=heads != "the same") for name in ("up", "kept")}
                results: dict[str, list[load.Result]] = {name: [] for name in scripts}
                for number in range(rounds):
                    for name in sorted(scripts, reverse=number % 2 == 1):
                        url = f"{peer.url}/function/{name}"
                        results[name].append(load.wrk(url, seconds=seconds, script=scripts[name], pids=peer.pids))
                cpu = {name: load.median([one.cpu for one in all_of]) for name, all_of in results.items()}
                rate = {name: load.median([one.rate for one in all_of]) for name, all_of in results.items()}
                more = load.median(
                    [kept.cpu / free.cpu - 1 for kept, free in zip(results["kept"], results["up"], strict=True)]
                )
                errors = sum(one.errors for all_of in results.values() for one in all_of)
                if errors:
                    found.findings.append(f"{what}, {heads}: {errors} calls were refused or failed")
                found.rows.append(
                    (
                        what, heads, f"{rate['up']:,.0f}", f"{rate['kept']:,.0f}",
                        f"{cpu['up'] * 1e6:.1f}", f"{cpu['kept'] * 1e6:.1f}", f"{more * 100:+.1f} %",
                    )
                )  # fmt: skip
    return found


def _script(where: Path, name: str, credentials: str, *, vary: bool) -> Path:
    path = where / f"guarded-{name}-{vary}-{len(credentials)}.lua"
    number = 'n = n + 1\n  wrk.headers["X-Request-Id"] = "request-" .. n' if vary else ""
    path.write_text(
        f'local n = 0\nwrk.headers["Authorization"] = "Bearer {credentials}"\n'
        f'function request()\n  {number}\n  return wrk.format("GET", "/function/{name}")\nend\n'
    )
    return path
