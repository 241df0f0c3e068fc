"""Reviews: what may I do, who am I."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from kubernetes_double.checks.rbac import Action, User
from kubernetes_double.objects.clock import stamp
from kubernetes_double.objects.resources import Registry, Resource
from kubernetes_double.serving.status import Cause, Json, invalid_object

if TYPE_CHECKING:
    from kubernetes_double.checks.access import Access

_AUTHORIZATION, _AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
_KINDS = (
    (_AUTHORIZATION, "selfsubjectaccessreviews", "SelfSubjectAccessReview", False),
    (_AUTHORIZATION, "selfsubjectrulesreviews", "SelfSubjectRulesReview", False),
    (_AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview", False),
    (_AUTHORIZATION, "localsubjectaccessreviews", "LocalSubjectAccessReview", True),
    (_AUTHENTICATION, "selfsubjectreviews", "SelfSubjectReview", False),
    (_AUTHENTICATION, "tokenreviews", "TokenReview", False),
)


def register(registry: Registry) -> None:
    for group, plural, kind, namespaced in _KINDS:
        registry.add(Resource(group, "v1", plural, kind, namespaced, verbs=("create",), singular=kind.lower()))


def answer(access: Access, resource: Resource, user: User, body: Json, credential: str) -> Json:
    """The review with its status. Raises `ApiError` 422."""
    kind, spec = resource.kind, body.get("spec") or {}
    head: Json = {"kind": kind, "apiVersion": resource.api_version}
    if kind == "SelfSubjectReview":
        info: Json = {"username": user.name, "groups": list(user.groups)}
        uid = access.uid_of(user)
        if uid:
            info = {"username": user.name, "uid": uid, "groups": list(user.groups)}
            info["extra"] = {
                "authentication.kubernetes.io/credential-id": [f"JTI={uuid.uuid5(uuid.NAMESPACE_OID, credential)}"]
            }
        return {**head, "metadata": {"creationTimestamp": stamp()}, "status": {"userInfo": info}}
    if kind == "TokenReview":
        found = access.tokens.user(spec.get("token", ""))
        status: Json = {"user": {}}
        if found is not None:
            status = {"authenticated": True, "user": {"username": found.name, "groups": list(found.groups)}}
        return {**head, "metadata": {}, "spec": spec, "status": status}
    if kind == "SelfSubjectRulesReview":
        return {**head, "metadata": {}, "spec": {}, "status": _rules(access, user, spec.get("namespace", ""))}
    attributes, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (attributes is None) == (path is None):
        text = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise invalid_object(_AUTHORIZATION, "", "", [Cause("FieldValueInvalid", "spec.resourceAttributes", text)])
    if kind != "SelfSubjectAccessReview":
        user = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
    action = _action(attributes, path)
    status = {"allowed": access.allows(user, action)}
    errors = access.resolution_errors(user, action.namespace)
    if status["allowed"]:
        reason = access.reason(user, action)
        if reason:
            status["reason"] = reason
    elif errors:
        status["reason"] = f"RBAC: {', '.join(errors)}"
    return {**head, "metadata": {}, "spec": spec, "status": status}


def _action(attributes: Json | None, path: Json | None) -> Action:
    if path is not None:
        return Action(path.get("verb", ""), path=path.get("path", ""))
    given = attributes or {}
    return Action(
        given.get("verb", ""),
        given.get("group", ""),
        given.get("resource", ""),
        given.get("subresource", ""),
        given.get("name", ""),
        given.get("namespace", ""),
    )


def _rules(access: Access, user: User, namespace: str) -> Json:
    resources: list[Json] = []
    paths: list[Json] = []
    for rule in access.rules(user, namespace):
        if rule.get("nonResourceURLs"):
            paths.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
            continue
        kept = {"verbs": rule["verbs"], "apiGroups": rule.get("apiGroups"), "resources": rule.get("resources")}
        if rule.get("resourceNames"):
            kept["resourceNames"] = rule["resourceNames"]
        resources.append(kept)
    status: Json = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
    errors = access.resolution_errors(user, namespace)
    if errors:
        status["evaluationError"] = "; ".join(errors)
    return status
