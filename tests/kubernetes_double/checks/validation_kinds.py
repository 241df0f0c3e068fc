"""The checks of single kinds: configuration, quotas, leases, networking, runtime classes, roles."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from kubernetes_double.checks import pod_security
from kubernetes_double.checks.validation_pods import pod, templated
from kubernetes_double.objects.definitions import check_definition
from kubernetes_double.objects.quantity import parse
from kubernetes_double.objects.texts import LABEL_TEXT, name_part, qualified
from kubernetes_double.serving.decode import parse_json
from kubernetes_double.serving.status import Cause, Json, forbidden_field, invalid, required, shown, unsupported

Check = Callable[[Json, Json | None], list[Cause]]

_CONFIG_KEY: Final = re.compile(r"^[-._a-zA-Z0-9]+$")
_CONFIG_KEY_TEXT: Final = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_FIXED: Final = "field is immutable when `immutable` is set"
_MOST_DATA: Final = 1024 * 1024


def _config_keys(data: Json, field: str) -> list[Cause]:
    causes = []
    for key in data:
        where = f"{field}[{key}]"
        if not _CONFIG_KEY.match(key):
            causes.append(invalid(where, key, _CONFIG_KEY_TEXT))
        elif key in (".", ".."):
            causes.append(invalid(where, key, f"must not be '{key}'"))
    return causes


def _immutable(obj: Json, old: Json | None) -> list[Cause]:
    causes: list[Cause] = []
    if old is not None and old.get("immutable"):
        if not obj.get("immutable"):
            causes.append(forbidden_field("immutable", _FIXED))
        causes.extend(
            forbidden_field(name, _FIXED)
            for name in ("data", "binaryData")
            if (obj.get(name) or {}) != (old.get(name) or {})
        )
    return causes


def _config_map(obj: Json, old: Json | None) -> list[Cause]:
    causes = _config_keys(obj.get("data") or {}, "data")
    size = sum(len(str(value).encode()) for value in (obj.get("data") or {}).values())
    if size > _MOST_DATA:
        causes.append(Cause("FieldValueTooLong", "", f"Too long: may not be more than {_MOST_DATA} bytes"))
    return causes + _immutable(obj, old)


_NEEDS: Final = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _secret(obj: Json, old: Json | None) -> list[Cause]:
    data, kind = obj.get("data") or {}, obj["type"]
    causes: list[Cause] = []
    if old is not None and kind != old["type"]:
        causes.append(invalid("type", kind, "field is immutable"))
    causes.extend(_config_keys(data, "data"))
    if sum(len(base64.b64decode(value)) for value in data.values()) > _MOST_DATA:
        causes.append(Cause("FieldValueTooLong", "data", f"Too long: may not be more than {_MOST_DATA} bytes"))
    causes.extend(required(f"data[{key}]") for key in _NEEDS.get(kind, ()) if key not in data)
    for key in (".dockerconfigjson", ".dockercfg"):
        if key in _NEEDS.get(kind, ()) and key in data:
            try:
                parse_json(base64.b64decode(data[key]))
            except ValueError as exc:
                text = _literal(base64.b64decode(data[key])) or str(exc)
                causes.append(invalid(f"data[{key}]", "<secret contents redacted>", text))
    if kind == "kubernetes.io/service-account-token":
        name = "kubernetes.io/service-account.name"
        if not (obj["metadata"].get("annotations") or {}).get(name):
            causes.append(required(f"metadata.annotations[{name}]"))
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
        causes.extend(required(f"data[{key}]") for key in ("username", "password"))
    return causes + _immutable(obj, old)


def _literal(text: bytes) -> str:
    """What Go's parser says of a word that begins like a literal."""
    for word in ("null", "true", "false"):
        if text[:1].decode("latin-1") == word[0]:
            for index, char in enumerate(word):
                given = text[index : index + 1].decode("latin-1")
                if given != char:
                    return f"invalid character '{given}' in literal {word} (expecting '{char}')"
    return ""


def _namespace(obj: Json, old: Json | None) -> list[Cause]:
    labels = obj["metadata"].get("labels") or {}
    return [
        invalid(f"metadata.labels[{label}]", labels[label], "must be one of privileged, baseline, restricted")
        for label in (pod_security.ENFORCE, "pod-security.kubernetes.io/audit", pod_security.WARN)
        if label in labels and labels[label] not in pod_security.LEVELS
    ]


def _lease(obj: Json, old: Json | None) -> list[Cause]:
    spec, causes = obj.get("spec") or {}, []
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        causes.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    transitions = spec.get("leaseTransitions")
    if transitions is not None and transitions < 0:
        causes.append(invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    return causes


def _runtime_class(obj: Json, old: Json | None) -> list[Cause]:
    handler = obj.get("handler")
    if not handler:
        return [required("handler")]
    if old is not None and handler != old["handler"]:
        return [invalid("handler", handler, "field is immutable")]
    if not re.match(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", handler):
        return [invalid("handler", handler, LABEL_TEXT)]
    return []


_QUOTA_NAMES: Final = frozenset(
    {
        *("cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"),
        *("requests.storage", "requests.ephemeral-storage", "limits.ephemeral-storage", "persistentvolumeclaims"),
        *("pods", "services", "secrets", "configmaps", "replicationcontrollers", "resourcequotas"),
        *("services.loadbalancers", "services.nodeports"),
    }
)
_WHOLE: Final = frozenset({"pods", "services", "secrets", "configmaps", "replicationcontrollers", "resourcequotas"})


def _quota(obj: Json, old: Json | None) -> list[Cause]:
    causes: list[Cause] = []
    for name, value in ((obj.get("spec") or {}).get("hard") or {}).items():
        field = f"spec.hard[{name}]"
        if "/" not in name and name not in _QUOTA_NAMES:
            causes.append(invalid(field, name, "must be a standard resource type or fully qualified"))
            causes.append(invalid(field, name, "must be a standard resource for quota"))
        if parse(value) < 0:
            causes.append(invalid(field, value, "must be greater than or equal to 0"))
        if (name in _WHOLE or name.startswith("count/")) and parse(value) % 1:
            causes.append(invalid(field, value, "must be an integer"))
    return causes


def _limit_range(obj: Json, old: Json | None) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        base = f"spec.limits[{index}]"
        most, least = item.get("max") or {}, item.get("min") or {}
        normal, asked = item.get("default") or {}, item.get("defaultRequest") or {}
        for name in sorted({*most, *least, *normal, *asked}):
            if name in least and name in most and parse(least[name]) > parse(most[name]):
                text = f"min value {least[name]} is greater than max value {most[name]}"
                causes.append(invalid(f"{base}.min[{name}]", least[name], text))
            if name in asked and name in most and parse(asked[name]) > parse(most[name]):
                text = f"default request value {asked[name]} is greater than max value {most[name]}"
                causes.append(invalid(f"{base}.defaultRequest[{name}]", asked[name], text))
            if name in asked and name in normal and parse(asked[name]) > parse(normal[name]):
                text = f"default request value {asked[name]} is greater than default limit value {normal[name]}"
                causes.append(invalid(f"{base}.defaultRequest[{name}]", asked[name], text))
            if name in normal and name in most and parse(normal[name]) > parse(most[name]):
                text = f"default value {normal[name]} is greater than max value {most[name]}"
                causes.append(invalid(f"{base}.default[{name}]", most[name], text))
    return causes


def _selector(selector: Json, field: str) -> Iterator[Cause]:
    for key in sorted(selector.get("matchLabels") or {}):
        if not qualified(key):
            yield invalid(f"{field}.matchLabels", key, name_part(key))


def _network_policy(obj: Json, old: Json | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = list(_selector(spec.get("podSelector") or {}, "spec.podSelector"))
    for side, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(side) or ()):
            base = f"spec.{side}[{index}]"
            for number, port in enumerate(rule.get("ports") or ()):
                causes.extend(_port(port, f"{base}.ports[{number}]"))
            for number, peer in enumerate(rule.get(peers) or ()):
                causes.extend(_peer(peer, f"{base}.{peers}[{number}]"))
    for index, kind in enumerate(spec.get("policyTypes") or ()):
        if kind not in ("Ingress", "Egress"):
            causes.append(unsupported(f"spec.policyTypes[{index}]", kind, ("Ingress", "Egress")))
    return causes


def _port(port: Json, field: str) -> Iterator[Cause]:
    if port.get("protocol", "TCP") not in ("TCP", "UDP", "SCTP"):
        yield unsupported(f"{field}.protocol", port["protocol"], ("TCP", "UDP", "SCTP"))
    number = port.get("port")
    if isinstance(number, int):
        if not 1 <= number <= 65535:
            yield invalid(f"{field}.port", number, "must be between 1 and 65535, inclusive")
        end = port.get("endPort")
        if end is not None and end < number:
            yield invalid(f"{field}.endPort", number, "must be greater than or equal to `port`")


def _peer(peer: Json, field: str) -> Iterator[Cause]:
    block = peer.get("ipBlock")
    if block is not None:
        try:
            network = ipaddress.ip_network(block.get("cidr", ""), strict=False)
        except ValueError:
            text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            yield invalid(f"{field}.ipBlock.cidr", block.get("cidr", ""), text)
            network = None
        for index, inner in enumerate(block.get("except") or ()):
            part: Any = ipaddress.ip_network(inner, strict=False)
            if network is not None and (part == network or not part.subnet_of(network)):
                yield invalid(f"{field}.ipBlock.except[{index}]", inner, "must be a strict subset of `cidr`")
        if set(peer) - {"ipBlock"}:
            yield forbidden_field(field, "may not specify both ipBlock and another peer")
    elif not peer:
        yield required(field, "must specify a peer")


def _rules(obj: Json, *, namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    for index, rule in enumerate(obj.get("rules") or ()):
        base = f"rules[{index}]"
        if not rule.get("verbs"):
            causes.append(required(f"{base}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            if namespaced:
                text = "namespaced rules cannot apply to non-resource URLs"
                causes.append(invalid(f"{base}.nonResourceURLs", rule["nonResourceURLs"], text))
            continue
        if "apiGroups" not in rule:
            causes.append(required(f"{base}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            causes.append(required(f"{base}.resources", "resource rules must supply at least one resource"))
    return causes


def _binding(obj: Json, old: Json | None) -> list[Cause]:
    causes: list[Cause] = []
    reference = obj["roleRef"]
    if old is not None and reference != old["roleRef"]:
        quoted = json.dumps(
            {"APIGroup": reference.get("apiGroup", ""), "Kind": reference["kind"], "Name": reference["name"]},
            separators=(",", ":"),
        )
        causes.append(Cause("FieldValueInvalid", "roleRef", f"Invalid value: {quoted}: cannot change roleRef"))
    for index, subject in enumerate(obj.get("subjects") or ()):
        if subject.get("kind") not in ("ServiceAccount", "User", "Group"):
            kinds = ("ServiceAccount", "User", "Group")
            causes.append(unsupported(f"subjects[{index}].kind", subject.get("kind", ""), kinds))
        elif not subject.get("name"):
            causes.append(required(f"subjects[{index}].name"))
    return causes


def _service(obj: Json, old: Json | None) -> list[Cause]:
    spec, causes = obj["spec"], []
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        causes.append(required("spec.ports"))
    for index, port in enumerate(ports):
        base = f"spec.ports[{index}]"
        if len(ports) > 1 and not port.get("name"):
            causes.append(required(f"{base}.name"))
        if not 1 <= int(port.get("port", 0)) <= 65535:
            causes.append(invalid(f"{base}.port", port.get("port", 0), "must be between 1 and 65535, inclusive"))
        if port.get("protocol", "TCP") not in ("TCP", "UDP", "SCTP"):
            causes.append(unsupported(f"{base}.protocol", port["protocol"], ("SCTP", "TCP", "UDP")))
    if old is not None and spec.get("clusterIP") != old["spec"].get("clusterIP") and spec.get("type") != "ExternalName":
        text = f"Invalid value: {shown([spec['clusterIP']])}: may not change once set"
        causes.append(Cause("FieldValueInvalid", "spec.clusterIPs[0]", text))
    return causes


CHECKS: Final[dict[str, Check]] = {
    "configmaps": _config_map,
    "secrets": _secret,
    "namespaces": _namespace,
    "leases.coordination.k8s.io": _lease,
    "runtimeclasses.node.k8s.io": _runtime_class,
    "resourcequotas": _quota,
    "limitranges": _limit_range,
    "networkpolicies.networking.k8s.io": _network_policy,
    "roles.rbac.authorization.k8s.io": lambda obj, old: _rules(obj, namespaced=True),
    "clusterroles.rbac.authorization.k8s.io": lambda obj, old: _rules(obj, namespaced=False),
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "customresourcedefinitions.apiextensions.k8s.io": check_definition,
    "services": _service,
    "pods": pod,
    "deployments.apps": templated,
    "replicasets.apps": templated,
    "statefulsets.apps": templated,
}
