"""A cluster that is known by its kubeconfig alone, looked at through its API as tests look at the double.

The suite works in namespaces of its own, `hilbert-test-MARK-...` with a new mark for each test, and removes them. Beyond
them it writes the definitions of Function and Profile, which stay, and roles and runtime classes of the same prefix.

Requests from the test's side block the event loop, in which the gateway under test runs as well: it gets slower, as on a
busy machine, and no test depends on it.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2
import pytest
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User

from hilbert.core.values import FunctionRef
from hilbert.providers.kubernetes.install import crds

Json = dict[str, Any]

IS_REAL = os.environ.get("HILBERT_TEST_CLUSTER") == "1"
PREFIX = "hilbert-test-"
_PATIENCE = 60.0


class Unexpected(Exception):
    """An answer of the API server that a test's side did not reckon with."""


class RealCluster:
    """One test's part of the cluster. `close` removes it."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self.kubeconfig = kubeconfig
        self._folder = folder
        self._config = _read(kubeconfig)
        self._http = httpx2.Client(**ConnectionParams(timeout=httpx2.Timeout(30)).httpx_params(self._config))
        self.mark = secrets.token_hex(3)
        self.platform, self.default = self.name("platform"), self.name("fn")
        self.account = f"system:serviceaccount:{self.platform}:hilbert"
        self._resources: dict[tuple[str, str], Json] = {}
        self._made: list[str] = []
        """Paths of objects that stand in no namespace."""

    def name(self, name: str) -> str:
        """A name of ours for what all users of the cluster share."""
        return f"{PREFIX}{self.mark}-{name}"

    def is_ours(self, namespace: str) -> bool:
        return namespace.startswith(f"{PREFIX}{self.mark}-")

    def ref(self, name: str, namespace: str = "") -> FunctionRef:
        """A function in the default namespace, or in one of ours."""
        return FunctionRef.parse(f"{name}.{self.name(namespace) if namespace else self.default}")

    @cached_property
    def image(self) -> str:
        """Answers with the request's body and writes a line for each call."""
        found = os.environ.get("HILBERT_TEST_IMAGE", "")
        if not found:
            pytest.skip("HILBERT_TEST_IMAGE names no image that Pods of this cluster can run")
        return found

    # Objects, as the administrator

    def put(self, obj: Json) -> Json:
        """Create an object. Only what is ours by its name."""
        metadata = obj["metadata"]
        where = metadata.get("namespace") or metadata["name"]
        if not self.is_ours(where):
            raise ValueError(f"{obj['kind']} {where} is not the test's own")
        path = self._path(obj["apiVersion"], obj["kind"], metadata.get("namespace", ""))
        made = self.request("POST", path, obj)
        if not metadata.get("namespace"):
            if obj["kind"] == "Namespace":
                self._await_account(metadata["name"])
            else:
                self._made.append(f"{path}/{metadata['name']}")
        return made

    def object(self, plural: str, name: str, namespace: str = "", *, group: str = "") -> Json | None:
        return self.find(f"{_root(group)}{_within(namespace)}/{plural}/{name}")

    def objects(self, plural: str, namespace: str = "", *, group: str = "") -> list[Json]:
        found = self.request("GET", f"{_root(group)}{_within(namespace)}/{plural}")
        return list(found["items"])

    def log(self, pod: Json) -> str:
        """The last lines of a Pod's first container; empty where there is none."""
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log?tailLines=10"
        answer = self._http.get(path)
        return answer.text if answer.status_code == 200 else ""

    def kubeconfig_for(self, account: str) -> Path:
        """Of one of our service accounts, with a token of its own, in the usual form."""
        _, _, namespace, name = account.split(":")
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
        token = self.request("POST", path, body)["status"]["token"]
        cluster = self._config.cluster
        trust: Json = {"insecure-skip-tls-verify": True} if cluster.insecure else {}
        if cluster.certificate_auth:
            trust["certificate-authority"] = str(self._config.abs_file(cluster.certificate_auth))
        elif cluster.certificate_auth_data:
            trust["certificate-authority-data"] = cluster.certificate_auth_data
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": cluster.server, **trust}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        file = self._folder / f"{secrets.token_hex(8)}.json"
        file.write_text(json.dumps(config))
        file.chmod(0o600)
        return file

    # Requests

    def find(self, path: str) -> Json | None:
        answer = self._http.get(path)
        return None if answer.status_code == 404 else _json(answer)

    def request(self, method: str, path: str, body: Json | None = None) -> Json:
        return _json(self._http.request(method, path, json=body))

    def call(self, namespace: str, pod: str, body: bytes, path: str) -> tuple[int, bytes]:
        """POST to a Pod's port 8080 through the API server, since its address may not be reachable from here."""
        answer = self._http.post(f"/api/v1/namespaces/{namespace}/pods/{pod}:8080/proxy{path}", content=body)
        return answer.status_code, answer.content

    # Life

    def define(self) -> None:
        """The definitions of Function and Profile, as this version has them."""
        for manifest in crds.definitions():
            name = manifest["metadata"]["name"]
            path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
            answer = self._http.patch(
                f"{path}?fieldManager={PREFIX}suite&force=true",
                content=json.dumps(manifest),
                headers={"Content-Type": "application/apply-patch+yaml"},
            )
            _json(answer)
            until_true(lambda path=path: _is_established(self.request("GET", path)), f"{name} is served")

    def others(self) -> list[str]:
        """Function namespaces that are not the suite's: a gateway under test would keep them as its own."""
        found = self.objects("namespaces")
        marked = [item["metadata"] for item in found if item["metadata"].get("annotations", {}).get("openfaas") == "1"]
        return [item["name"] for item in marked if not item["name"].startswith(PREFIX)]

    def sweep(self) -> None:
        """Remove what earlier runs left behind, of whichever mark."""
        self._remove(PREFIX)

    def close(self) -> None:
        """Ask for the removal of all that is ours; the cluster finishes it in its own time."""
        self._remove(f"{PREFIX}{self.mark}-")
        for path in self._made:
            self._http.delete(path)
        self._http.close()

    def _remove(self, prefix: str) -> None:
        for plural, group in (
            ("namespaces", ""),
            ("clusterrolebindings", "rbac.authorization.k8s.io"),
            ("clusterroles", "rbac.authorization.k8s.io"),
        ):
            for item in self.objects(plural, group=group):
                if item["metadata"]["name"].startswith(prefix):
                    self._http.delete(f"{_root(group)}/{plural}/{item['metadata']['name']}")

    def _await_account(self, namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        until_true(lambda: self.find(path), f"namespace {namespace} has its service account")

    def _path(self, version: str, kind: str, namespace: str) -> str:
        root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        if (version, kind) not in self._resources:
            for resource in self.request("GET", root)["resources"]:
                if "/" not in resource["name"]:
                    self._resources[version, resource["kind"]] = resource
        resource = self._resources[version, kind]
        return f"{root}{_within(namespace) if resource['namespaced'] else ''}/{resource['name']}"


def until_true(met: Any, what: str) -> None:
    """Blocks."""
    end = time.monotonic() + _PATIENCE
    while not met():
        if time.monotonic() > end:
            raise Unexpected(f"did not come true within {_PATIENCE:g} s: {what}")
        time.sleep(0.05)


def _read(kubeconfig: Path) -> SingleConfig:
    config = KubeConfig.from_file(kubeconfig).get()
    if config is None:
        raise pytest.UsageError(f"{kubeconfig} names no current context")
    return config if config.user is not None else config._replace(user=User())


def _root(group: str) -> str:
    return f"/apis/{group}/v1" if group else "/api/v1"


def _within(namespace: str) -> str:
    return f"/namespaces/{namespace}" if namespace else ""


def _is_established(definition: Json) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any((item["type"], item["status"]) == ("Established", "True") for item in conditions)


def _json(answer: httpx2.Response) -> Json:
    if answer.status_code >= 400:
        request = answer.request
        raise Unexpected(f"{request.method} {request.url.path}: {answer.status_code} {answer.text[:1000]}")
    found: Json = answer.json()
    return found
