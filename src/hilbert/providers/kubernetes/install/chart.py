"""The Helm chart. Its templates are the plan's own manifests, rendered with marks that stand for values. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from hilbert import __version__
from hilbert.providers.kubernetes.install import plan

_PLATFORM: Final = "hx-platform"
_TENANT: Final = "hx-tenant"
_IMAGE: Final = "hx-image"
_REPLICAS: Final = 987_654_321
_SERVICE: Final = "hx-service"

VALUES: Final[dict[str, Any]] = {
    "clusterRole": True,
    "createDefinitions": True,
    "generateBasicAuth": True,
    "namespaces": ["openfaas-fn"],
    "image": plan.IMAGE,
    "replicas": 2,
    "serviceType": "ClusterIP",
}
_VALUES_TEXT: Final = """\
# Rights in all namespaces annotated openfaas="1". With false no ClusterRole is made, and the function namespaces are
# those listed below.
clusterRole: true
# Install the definitions of Function and Profile, which takes cluster-wide rights of whoever installs.
createDefinitions: true
# Make a password in the Secret basic-auth when there is none.
generateBasicAuth: true
# Function namespaces to make; the first is the default one.
namespaces:
  - openfaas-fn
image: {image}
replicas: 2
# ClusterIP, NodePort or LoadBalancer.
serviceType: ClusterIP
"""


def files() -> dict[str, str]:
    """Content by path inside the chart."""
    wide = plan.make(_options(cluster_role=True))
    split = plan.make(_options(cluster_role=False))
    functions = [item for item in split.rights if item["metadata"]["namespace"] == _TENANT]
    platform = [item for item in split.rights if item["metadata"]["namespace"] == _PLATFORM]
    cluster = [item for item in wide.rights if item not in platform]
    return {
        "Chart.yaml": yaml.safe_dump(
            {
                "apiVersion": "v2",
                "name": "hilbert",
                "description": "An open functions platform with many namespaces that speaks the OpenFaaS API.",
                "type": "application",
                "version": _semver(__version__),
                "appVersion": __version__,
                "kubeVersion": ">=1.30.0-0",
            },
            sort_keys=False,
        ),
        "values.yaml": _VALUES_TEXT.format(image=plan.IMAGE),
        "templates/definitions.yaml": _if(".Values.createDefinitions", _dump(wide.definitions)),
        "templates/tenants.yaml": _range(_dump(split.tenants)),
        "templates/rights.yaml": _dump(platform)
        + _if(".Values.clusterRole", _dump(cluster), otherwise=_range(_dump(functions))),
        "templates/gateway.yaml": _namespaces_value(_dump(split.gateway)),
        "templates/credentials.yaml": _CREDENTIALS,
    }


def _options(*, cluster_role: bool) -> plan.Options:
    return plan.Options(
        namespace=_PLATFORM,
        namespaces=(_TENANT,),
        cluster_role=cluster_role,
        image=_IMAGE,
        replicas=_REPLICAS,
        service_type=_SERVICE,
    )


def _dump(manifests: list[dict[str, Any]]) -> str:
    text = "".join(f"---\n{yaml.safe_dump(manifest, sort_keys=False, width=200)}" for manifest in manifests)
    text = text.replace(str(_REPLICAS), "{{ .Values.replicas }}")
    text = text.replace(_IMAGE, "{{ .Values.image | quote }}").replace(_SERVICE, "{{ .Values.serviceType }}")
    text = text.replace(_PLATFORM, "{{ $.Release.Namespace }}")
    return text.replace(_TENANT, "{{ . }}")


def _namespaces_value(text: str) -> str:
    """The two settings that name function namespaces; outside a `range`, the mark must not stay a dot."""
    listed = '{{ if .Values.clusterRole }}""{{ else }}{{ join "," .Values.namespaces | quote }}{{ end }}'
    first = "{{ first .Values.namespaces | quote }}"
    text = re.sub(r"(HILBERT_KUBERNETES__NAMESPACES\n\s+value: )\S.*", lambda m: m[1] + listed, text)
    return re.sub(r"(HILBERT_PROVIDER__DEFAULT_NAMESPACE\n\s+value: )\S.*", lambda m: m[1] + first, text)


def _if(condition: str, text: str, *, otherwise: str = "") -> str:
    middle = f"{{{{- else }}}}\n{otherwise}" if otherwise else ""
    return f"{{{{- if {condition} }}}}\n{text}{middle}{{{{- end }}}}\n"


def _range(text: str) -> str:
    return f"{{{{- range .Values.namespaces }}}}\n{text}{{{{- end }}}}\n"


def _semver(version: str) -> str:
    """`0.1.0.dev0` is `0.1.0-dev0` in a chart."""
    found = re.match(r"(\d+\.\d+\.\d+)[.]?(.*)", version)
    return version if found is None else f"{found[1]}-{found[2]}" if found[2] else found[1]


_CREDENTIALS: Final = """\
{{- if .Values.generateBasicAuth }}
{{- $known := lookup "v1" "Secret" .Release.Namespace "basic-auth" }}
---
apiVersion: v1
kind: Secret
metadata:
  name: basic-auth
  namespace: {{ .Release.Namespace }}
  annotations:
    helm.sh/resource-policy: keep
type: Opaque
data:
{{- if $known }}
  basic-auth-user: {{ index $known.data "basic-auth-user" | quote }}
  basic-auth-password: {{ index $known.data "basic-auth-password" | quote }}
{{- else }}
  basic-auth-user: {{ "admin" | b64enc | quote }}
  basic-auth-password: {{ randAlphaNum 32 | b64enc | quote }}
{{- end }}
{{- end }}
"""
