"""Tokens of CI systems and of Kubernetes, in the shapes that they have; with the objects of the guide, word for word."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hilbert.core.access import API_VERSION
from hilbert.iam.federation import EXCHANGE, ID_TOKEN, Refused
from hilbert.iam.jose import take_apart
from support.api import Api, running
from support.issuer import NOW, Issuer

pytestmark = pytest.mark.anyio

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "ci.md"
GATEWAY = "https://functions.example.com"
GITHUB: dict[str, Any] = {
    "iss": "https://token.actions.githubusercontent.com", "aud": GATEWAY, "jti": "e9d2c8a1", "ref": "refs/heads/main",
    "repository": "acme/app", "repository_id": "7654321", "repository_owner": "acme", "repository_owner_id": "1234567",
    "repository_visibility": "private", "run_id": "1", "actor": "alice", "workflow": "deploy", "event_name": "push", "ref_type": "branch",
    "job_workflow_ref": "acme/app/.github/workflows/deploy.yml@refs/heads/main", "runner_environment": "github-hosted",
}  # fmt: skip
OLD_SUBJECT, NEW_SUBJECT = "repo:acme/app:ref:refs/heads/main", "repo:acme@1234567/app@7654321:ref:refs/heads/main"
GITLAB: dict[str, Any] = {
    "iss": "https://gitlab.com", "aud": GATEWAY, "sub": "project_path:acme/app:ref_type:branch:ref:main", "namespace_id": "72",
    "namespace_path": "acme", "project_id": "4242", "project_path": "acme/app", "user_login": "alice", "pipeline_id": "1",
    "ref": "main", "ref_type": "branch", "ref_protected": "true", "environment": "production",
}  # fmt: skip
BITBUCKET: dict[str, Any] = {
    "iss": "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc",
    "aud": ["ari:cloud:bitbucket::workspace/11111111-2222-3333-4444-555555555555"],
    "sub": "{aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee}:{99999999-8888-7777-6666-555555555555}",
    "repositoryUuid": "{aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee}", "branchName": "main", "workspaceUuid": "{1}", "pipelineUuid": "{2}",
}  # fmt: skip
KUBERNETES: dict[str, Any] = {
    "iss": "https://kubernetes.default.svc.cluster.local", "aud": [GATEWAY], "sub": "system:serviceaccount:ci:runner",
    "kubernetes.io": {"namespace": "ci", "pod": {"name": "p", "uid": "u"}, "serviceaccount": {"name": "runner", "uid": "v"}},
}  # fmt: skip


def guide() -> list[dict[str, Any]]:
    """Every object in the guide."""
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    found = [one for block in blocks if API_VERSION in block for one in yaml.safe_load_all(block)]
    assert len(found) == 9
    return found


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    issuers = {claims["iss"]: Issuer(claims["iss"]) for claims in (GITHUB, GITLAB, BITBUCKET, KUBERNETES)}

    async def fetch(url: str, named: frozenset[str]) -> bytes:
        return await next(one for iss, one in issuers.items() if url.startswith(iss)).fetch(url, named)

    async with running(fetch=fetch, clock=lambda: NOW) as made:
        made.provider.issuers = issuers
        applied = await made.call("PUT", "/system/iam", {"documents": guide()})
        assert applied.status == 200, applied.text
        assert [one["warning"] for one in applied.json] == [""] * 9
        yield made


async def policies(api: Api, claims: dict[str, Any]) -> list[str]:
    """What a token with these claims is given; nothing if it is refused."""
    issuer: Issuer = api.provider.issuers[claims["iss"]]
    token = issuer.token({"iat": int(NOW), "exp": int(NOW) + 300, **claims})
    form = {"grant_type": [EXCHANGE], "subject_token": [token], "subject_token_type": [ID_TOKEN]}
    try:
        granted = await api.services.federation.exchange(form)
    except Refused as exc:
        if "No policies" not in exc.message and "aud" not in exc.message:
            raise
        return []
    assert api.services.federation.identify(granted.access_token).grants
    found: list[str] = take_apart(granted.access_token).claims["policy"]
    return found


@pytest.mark.parametrize("subject", [OLD_SUBJECT, NEW_SUBJECT])
async def test_github(api: Api, subject: str) -> None:
    """Both forms of its subject: the role goes by the ids."""
    good = {**GITHUB, "sub": subject}
    assert await policies(api, good) == ["dev-deploy"]
    for change in (
        {"repository_id": "1"}, {"repository_owner_id": "1"}, {"ref": "refs/heads/feature"}, {"ref": "refs/pull/1/merge"},
        {"aud": "https://other.example.com"}, {"repository_id": 7654322}, {"repository_owner_id": ["1234567"]},
    ):  # fmt: skip
        assert await policies(api, {**good, **change}) == [], change


async def test_a_pattern_for_the_old_subjects_of_github_never_matches_the_new_ones(api: Api) -> None:
    role = {"policy": ["dev-deploy"], "condition": {"StringLike": {"jwt:sub": ["repo:acme/*"]}}}
    document = {"apiVersion": API_VERSION, "kind": "Role", "metadata": {"name": "github-deploy"}, "spec": role}
    assert (await api.call("PUT", "/system/iam", {"documents": [document]})).status == 200
    assert await policies(api, {**GITHUB, "sub": OLD_SUBJECT}) == ["dev-deploy"]
    assert await policies(api, {**GITHUB, "sub": NEW_SUBJECT}) == []
    for evil in ("repo:acme-evil/app:ref:refs/heads/main", "repo:evil/repo:acme/x", "xrepo:acme/app"):
        assert await policies(api, {**GITHUB, "sub": evil}) == []


async def test_gitlab(api: Api) -> None:
    assert await policies(api, GITLAB) == ["dev-deploy"]
    for change in (
        {"project_id": "1"},
        {"ref": "feature"},
        {"ref_protected": "false"},
        {"ref_protected": False},
        {"aud": "x"},
    ):
        assert await policies(api, {**GITLAB, **change}) == [], change


async def test_bitbucket(api: Api) -> None:
    """Its audience is a list, and its subject another at each step."""
    assert await policies(api, BITBUCKET) == ["dev-deploy"]
    assert await policies(api, {**BITBUCKET, "sub": "{aaaaaaaa}:{0}"}) == ["dev-deploy"]
    for change in ({"repositoryUuid": "{b}"}, {"branchName": "x"}, {"aud": ["ari:cloud:bitbucket::workspace/2"]}):
        assert await policies(api, {**BITBUCKET, **change}) == [], change


async def test_kubernetes(api: Api) -> None:
    assert await policies(api, KUBERNETES) == ["dev-deploy"]
    for change in (
        {"sub": "system:serviceaccount:ci:other"},
        {"sub": "system:serviceaccount:evil:runner"},
        {"aud": ["https://kubernetes.default.svc"]},
    ):
        assert await policies(api, {**KUBERNETES, **change}) == [], change


async def test_one_systems_claims_do_not_count_for_another(api: Api) -> None:
    """A GitLab user who calls a claim as GitHub does gets nothing by it."""
    assert (
        await policies(
            api,
            {**GITLAB, "project_id": "1", **{k: v for k, v in GITHUB.items() if k not in ("iss", "aud")}, "sub": "x"},
        )
        == []
    )
