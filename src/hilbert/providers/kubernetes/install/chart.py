"""The Helm chart. Its templates are the plan's own manifests, with expressions in place of what values choose. Pure."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any, Final

import yaml

from hilbert import __version__
from hilbert.providers.kubernetes.install import monitoring, nats, plan, values
from hilbert.providers.kubernetes.install.yaml_text import dump, dump_each

_PLATFORM: Final = "hx-platform"
_TENANT: Final = "hx-tenant"
_REPLICAS: Final = 987_654_321
_KEEP: Final = {"helm.sh/resource-policy": "keep"}
"""On what holds functions: uninstalling the release leaves them."""


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
                "description": "An open-source, multi-tenant functions platform that speaks the OpenFaaS API.",
                "type": "application",
                "version": _semver(__version__),
                "appVersion": __version__,
                "kubeVersion": ">=1.30.0-0",
            },
            sort_keys=False,
        ),
        "values.yaml": values.TEXT,
        "values.schema.json": json.dumps(values.SCHEMA, indent=2) + "\n",
        "templates/definitions.yaml": _if(".Values.createDefinitions", _dump(map(_kept, wide.definitions))),
        "templates/tenants.yaml": _if(
            ".Values.clusterRole",
            _range(_dump(map(_kept, wide.tenants))),
            otherwise=_range(_dump(_kept(item) if item["kind"] == "Namespace" else item for item in split.tenants)),
        ),
        "templates/rights.yaml": _dump(platform)
        + _if(".Values.clusterRole", _dump(cluster), otherwise=_range(_dump(functions))),
        "templates/gateway.yaml": _dump(_chosen(item) for item in split.gateway),
        "templates/ingress.yaml": _INGRESS,
        "templates/monitoring.yaml": _if(".Values.serviceMonitor.enabled", _monitoring()),
        "templates/nats.yaml": _if(".Values.nats.enabled", _NATS_SECRET + _nats()),
        "templates/credentials.yaml": _CREDENTIALS,
        "templates/NOTES.txt": _NOTES,
    }


def _options(*, cluster_role: bool) -> plan.Options:
    return plan.Options(namespace=_PLATFORM, namespaces=(_TENANT,), cluster_role=cluster_role, replicas=_REPLICAS)


def _kept(manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **_KEEP}}}


def _chosen(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest of the gateway with what values choose as template expressions."""
    if manifest["kind"] == "Service":
        manifest["metadata"]["annotations"] = _json(".Values.serviceAnnotations")
        manifest["spec"]["type"] = _json(".Values.serviceType")
    if manifest["kind"] == "Deployment":
        template = manifest["spec"]["template"]
        annotations = template["metadata"]["annotations"]
        template["metadata"]["annotations"] = (
            f"{{{{ merge (dict) .Values.podAnnotations (fromJson `{json.dumps(annotations)}`) | toJson }}}}"
        )
        pod = template["spec"]
        pod["nodeSelector"] = _json(".Values.nodeSelector")
        pod["tolerations"] = _json(".Values.tolerations")
        apart = json.dumps(pod["affinity"])
        pod["affinity"] = f"{{{{ default (fromJson `{apart}`) .Values.affinity | toJson }}}}"
        pod["priorityClassName"] = _json(".Values.priorityClassName")
        pod["imagePullSecrets"] = (
            "[{{ range $i, $name := .Values.imagePullSecrets }}{{ if $i }}, {{ end }}{name: {{ toJson $name }}}{{ end }}]"
        )
        for volume in pod["volumes"]:
            if "secret" in volume:
                volume["secret"]["secretName"] = _json(".Values.basicAuthSecret")
        _container(pod["containers"][0])
    return manifest


def _container(container: dict[str, Any]) -> None:
    container["image"] = _json(".Values.image")
    container["imagePullPolicy"] = _json(".Values.imagePullPolicy")
    container["resources"] = _json(".Values.resources")
    for entry in container["env"]:
        if entry["name"] == "HILBERT_KUBERNETES__NAMESPACES":
            entry["value"] = '{{ ternary "" (join "," .Values.namespaces) .Values.clusterRole | toJson }}'
        elif entry["name"] == "HILBERT_PROVIDER__DEFAULT_NAMESPACE":
            entry["value"] = "{{ first .Values.namespaces | toJson }}"
    container["env"].append(_SETTINGS_MARK)
    container["envFrom"] = (
        "[{{ range $i, $name := .Values.settingsFrom }}{{ if $i }}, {{ end }}{secretRef: {name: {{ toJson $name }}}}"
        "{{ end }}]"
    )


def _monitoring() -> str:
    service, monitor = monitoring.objects(_PLATFORM)
    labels = json.dumps(monitor["metadata"]["labels"])
    monitor["metadata"]["labels"] = (
        f"{{{{ merge (dict) .Values.serviceMonitor.labels (fromJson `{labels}`) | toJson }}}}"
    )
    monitor["spec"]["endpoints"][0]["interval"] = _json(".Values.serviceMonitor.interval")
    way_in = _dump([monitoring.policy(_PLATFORM, _json(".Values.serviceMonitor.prometheusNamespace"))])
    return _dump([service, monitor]) + _if(".Values.serviceMonitor.prometheusNamespace", way_in)


def _nats() -> str:
    manifests = nats.objects(_PLATFORM)
    (servers,) = (item["spec"] for item in manifests if item["kind"] == "StatefulSet")
    servers["replicas"] = _json(".Values.nats.replicas")
    (claim,) = servers["volumeClaimTemplates"]
    claim["spec"]["resources"]["requests"]["storage"] = _json(".Values.nats.storage")
    claim["spec"]["storageClassName"] = "{{ .Values.nats.storageClassName | default nil | toJson }}"
    (container,) = servers["template"]["spec"]["containers"]
    container["image"] = _json(".Values.nats.image")
    container["args"][1] = (
        f'{{{{ ternary "{nats.config_file(1)}" "{nats.config_file(3)}" (eq (int .Values.nats.replicas) 1) | toJson }}}}'
    )
    return _dump(manifests)


def _json(expression: str) -> str:
    """JSON is YAML, whatever the value."""
    return f"{{{{ toJson {expression} }}}}"


def _dump(manifests: Any) -> str:
    text = dump_each(manifests)
    # An expression stands for any value, not for a text.
    text = re.sub(r"'(\[?\{\{.*\}\}\]?)'", lambda found: found[1].replace("''", "'"), text)
    text = text.replace(f"        - {_SETTINGS_MARK}\n", _SETTINGS)
    text = text.replace(str(_REPLICAS), "{{ .Values.replicas }}")
    text = text.replace(_PLATFORM, "{{ $.Release.Namespace }}")
    return text.replace(_TENANT, "{{ . }}")


def _if(condition: str, text: str, *, otherwise: str = "") -> str:
    middle = f"{{{{- else }}}}\n{otherwise}" if otherwise else ""
    return f"{{{{- if {condition} }}}}\n{text}{middle}{{{{- end }}}}\n"


def _range(text: str) -> str:
    return f"{{{{- range .Values.namespaces }}}}\n{text}{{{{- end }}}}\n"


def _semver(version: str) -> str:
    """`0.1.0.dev0` is `0.1.0-dev0` in a chart."""
    found = re.match(r"(\d+\.\d+\.\d+)[.]?(.*)", version)
    return version if found is None else f"{found[1]}-{found[2]}" if found[2] else found[1]


_SETTINGS_MARK: Final = "hx-settings"
_SETTINGS: Final = (
    f"""\
        {{{{- if .Values.nats.enabled }}}}
{textwrap.indent(dump(nats.environment()), " " * 8).replace("'3'", "{{ .Values.nats.replicas | quote }}")}\
        {{{{- end }}}}
"""
    """\
        {{- range $name, $value := .Values.settings }}
        - name: {{ toJson $name }}
          value: {{ toString $value | toJson }}
        {{- end }}
"""
)

_NATS_SECRET: Final = f"""\
---
apiVersion: v1
kind: Secret
metadata:
  name: {nats.CREDENTIALS}
  namespace: {{{{ .Release.Namespace }}}}
  annotations:
    helm.sh/resource-policy: keep
type: Opaque
data:
{{{{- with lookup "v1" "Secret" .Release.Namespace "{nats.CREDENTIALS}" }}}}
  password: {{{{ .data.password | quote }}}}
{{{{- else }}}}
  password: {{{{ randAlphaNum 31 | printf "p%s" | b64enc | quote }}}}
{{{{- end }}}}
"""

_INGRESS: Final = """\
{{- if .Values.ingress.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: gateway
  namespace: {{ .Release.Namespace }}
  labels:
    app.kubernetes.io/name: hilbert
    app.kubernetes.io/component: gateway
  annotations: {{ toJson .Values.ingress.annotations }}
spec:
  {{- with .Values.ingress.className }}
  ingressClassName: {{ toJson . }}
  {{- end }}
  {{- with .Values.ingress.tlsSecret }}
  tls:
  - hosts: [{{ toJson $.Values.ingress.host }}]
    secretName: {{ toJson . }}
  {{- end }}
  rules:
  - host: {{ toJson .Values.ingress.host }}
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: gateway
            port:
              name: http
{{- end }}
"""

_CREDENTIALS: Final = """\
{{- if .Values.generateBasicAuth }}
{{- $known := lookup "v1" "Secret" .Release.Namespace .Values.basicAuthSecret }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ toJson .Values.basicAuthSecret }}
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

_NOTES: Final = """\
The gateway is in namespace {{ .Release.Namespace }}. Reach it:
  kubectl --namespace {{ .Release.Namespace }} port-forward service/gateway 8080:8080

User and password of its REST API are in a Secret:
  kubectl --namespace {{ .Release.Namespace }} get secret {{ .Values.basicAuthSecret }} --output jsonpath='{.data.basic-auth-password}' | base64 --decode

{{ if .Values.clusterRole -}}
Every namespace annotated openfaas="1" is a function namespace.
{{- else -}}
Function namespaces are {{ join ", " .Values.namespaces }}, and no others.
{{- end }}
"""
