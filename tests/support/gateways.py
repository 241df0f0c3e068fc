"""Gateways as Pods of the double: the installed command, with the settings that the rendered Deployment gives it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from kubernetes_double import ApiServer, Outcome, Pace, Process
from support.cluster import ACCOUNT, until

BIN = Path(sys.executable).parent
IMAGE = "hilbert:test"
ECHO = "echo:1"
_FOUND = shutil.which("kubectl", path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")
_PORT = 8080

_HANDLER = """
import os
import pathlib
import time

def handle(event, context):
    print(f"called with {len(event.body)} bytes", flush=True)
    time.sleep(float(event.headers.get("X-Seconds", "0")))
    if name := event.headers.get("X-Secret", ""):
        return {"statusCode": 200, "body": (pathlib.Path(os.environ["HILBERT_SECRETS_DIR"]) / name).read_bytes()}
    return {"statusCode": 200, "body": os.environ.get("SAY", "").encode() + event.body}
"""

# Like the container: its mounts, no other folder to write to, its user. What Python needs may lie where only root reads.
_SANDBOX = """
set -eu
mount -t tmpfs none /var
mount -t tmpfs none /run
mkdir -p /var/lib/hilbert /run/hilbert /var/secrets /var/run/secrets/kubernetes.io/serviceaccount
mount --bind "{folder}/volumes/state" /var/lib/hilbert
mount --bind "{folder}/volumes/run" /run/hilbert
mount --bind -o ro "{folder}/secrets" /var/secrets
mount --bind -o ro "{folder}/account" /var/run/secrets/kubernetes.io/serviceaccount
mount -o remount,ro,bind /
exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs \\
  --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search "$0" "$@"
"""


def can_sandbox() -> bool:
    """Whether this machine lets us make mounts of our own."""
    return (
        os.geteuid() == 0
        and subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    )


def image(cluster: ApiServer, *, sandboxed: bool = False, settings: Mapping[str, str] | None = None) -> Outcome:
    """What the gateway's image does on a node of the double, with more settings from the environment."""
    command = str(BIN / "hilbert")
    over = {
        # All Pods share this machine's network: each has an address of its own in it.
        "HILBERT_GATEWAY__HOST": "{address}",
        "HILBERT_GATEWAY__METRICS_HOST": "{address}",
        "HILBERT_GATEWAY__WORKERS": "2",
        **(settings or {}),
    }
    if sandboxed:
        return Outcome(process=Process(("unshare", "--mount", "sh", "-c", _SANDBOX, command), over=over, listens=True))
    over |= {
        "HILBERT_GATEWAY__SECRET_MOUNT_PATH": "{folder}/secrets",
        "HILBERT_STATE_DIR": "{folder}/volumes/state/hilbert",
        "HILBERT_RUN_DIR": "{folder}/volumes/run/hilbert",
        "KUBECONFIG": str(cluster.kubeconfig_for(ACCOUNT)),
    }
    return Outcome(process=Process((command,), over=over, listens=True))


def watchdog(folder: Path) -> Outcome:
    """What a function's image does: `SAY` and the request's body, after `X-Seconds`; or the secret `X-Secret`."""
    folder.mkdir(parents=True)
    (folder / "handler.py").write_text(_HANDLER)
    environment = {
        "HILBERT_MODE": "python",
        "HILBERT_BUNDLE": str(folder),
        "HILBERT_HANDLER": str(folder / "handler.py"),
    }
    return Outcome(process=Process((sys.executable, "-m", "hilbert.watchdog"), environment))


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    error: str


class Session:
    """A cluster with gateways in it, and a user with `kubectl` and `hilbert`."""

    def __init__(self, cluster: ApiServer, home: Path) -> None:
        self.cluster = cluster
        self.home = home
        self.http = httpx2.AsyncClient(timeout=30, trust_env=False)
        self._known: set[str] = set()

    async def run(self, *command: str | Path, stdin: str = "", expect: int | None = 0, **environ: str) -> Done:
        """Run a command as the user; `expect=None` takes any exit status."""
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "NO_COLOR": "1",
                "KUBECONFIG": str(self.cluster.kubeconfig),
                **environ,
            },
            cwd=self.home,
            # Nothing is not written: a command that is quick has ended before a loop under load comes to that.
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            out, error = await process.communicate(stdin.encode() or None)
        done = Done(process.returncode or 0, out.decode(), error.decode())
        assert expect is None or done.code == expect, f"{command}: {done}\n{self.logs()}"
        return done

    async def kubectl(self, *words: str, stdin: str = "", expect: int | None = 0) -> str:
        """What it printed."""
        assert _FOUND is not None
        return (await self.run(_FOUND, *words, stdin=stdin, expect=expect)).out

    async def hilbert(self, *words: str, stdin: str = "", expect: int | None = 0) -> Done:
        """The command line, logged in at one of the gateways with the password that the installation made."""
        url = self.url
        if url not in self._known:
            await self.run(BIN / "hilbert", "login", "--gateway", url, "--password-stdin", stdin=self.password)
            self._known.add(url)
        return await self.run(BIN / "hilbert", *words, stdin=stdin, expect=expect, OPENFAAS_URL=url)

    # The gateways

    @property
    def password(self) -> str:
        secret = self.cluster.object("secrets", "basic-auth", "openfaas")
        assert secret is not None
        return base64.b64decode(secret["data"]["basic-auth-password"]).decode()

    @property
    def gateways(self) -> list[str]:
        """URLs of the gateways that the Service leads to now."""
        found = set()
        for item in self.cluster.objects("endpointslices", "openfaas", group="discovery.k8s.io"):
            if item["metadata"]["labels"].get("kubernetes.io/service-name") != "gateway":
                continue
            for endpoint in item.get("endpoints") or ():
                if endpoint["conditions"].get("ready"):
                    found.add(f"http://{endpoint['addresses'][0]}:{_PORT}")
        return sorted(found)

    @property
    def url(self) -> str:
        """Of one gateway."""
        assert self.gateways, f"no gateway is ready\n{self.logs()}"
        return self.gateways[0]

    def pods(self, label: str, namespace: str) -> list[dict[str, Any]]:
        """Pods with a label `key=value` that are not being deleted."""
        key, _, value = label.partition("=")
        return [
            pod
            for pod in self.cluster.objects("pods", namespace)
            if pod["metadata"].get("labels", {}).get(key) == value and "deletionTimestamp" not in pod["metadata"]
        ]

    def logs(self) -> str:
        """The last lines of every gateway."""
        kubelet = self.cluster.kubelet
        parts = []
        for pod in self.cluster.objects("pods", "openfaas"):
            log = kubelet.log(pod["metadata"]["uid"], "gateway")
            lines = [text for start in log.starts for _, text in start]
            parts.append(f"--- {pod['metadata']['name']}\n" + "".join(lines[-60:]))
        return "\n".join(parts)

    # Calls

    async def call(self, name: str, body: str = "", *, url: str = "") -> httpx2.Response:
        """Call a function, without credentials."""
        return await self.http.post(f"{url or self.url}/function/{name}", content=body.encode())

    async def api(self, method: str, path: str, body: object = None, *, url: str = "") -> httpx2.Response:
        """Call the REST API."""
        return await self.http.request(method, f"{url or self.url}{path}", json=body, auth=("admin", self.password))


@asynccontextmanager
async def session(
    home: Path,
    *words: str,
    sandboxed: bool = False,
    replicas: int = 1,
    authority: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Session]:
    """A cluster in which `hilbert install kubernetes WORDS --wait` has been run; the image `echo:1` is a real watchdog."""
    async with ApiServer(authority=authority, pace=Pace(probe=0.2)) as cluster:
        cluster.images[IMAGE] = image(cluster, sandboxed=sandboxed, settings=settings)
        cluster.images[ECHO] = watchdog(home / "echo")
        user = Session(cluster, home)
        try:
            await user.run(
                BIN / "hilbert", "install", "kubernetes", "--image", IMAGE, "--replicas", str(replicas), "--wait",
                "--timeout", "60s", *words,
            )  # fmt: skip
            await until(lambda: len(user.gateways) == replicas)
            yield user
        finally:
            await user.http.aclose()
        assert cluster.controllers.errors == []


def function(name: str, namespace: str, **spec: Any) -> str:
    """A Function object for `kubectl apply`."""
    metadata = {"name": name, "namespace": namespace}
    return json.dumps(
        {
            "apiVersion": "openfaas.com/v1",
            "kind": "Function",
            "metadata": metadata,
            "spec": {"name": name, "image": ECHO, **spec},
        }
    )
