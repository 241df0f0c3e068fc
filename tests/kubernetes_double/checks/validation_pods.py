"""The checks of Pods and of what makes Pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kubernetes_double.objects.quantity import parse
from kubernetes_double.objects.selectors import object_selector
from kubernetes_double.objects.texts import LABEL_TEXT, is_label
from kubernetes_double.serving.status import Cause, Json, duplicate, forbidden_field, invalid, required, shown

_MUTABLE: Final = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")


def _containers(spec: Json, base: str) -> Iterator[Cause]:
    if not spec.get("containers"):
        yield required(f"{base}.containers")
    names: set[str] = set()
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    for kind in ("initContainers", "containers"):
        for index, item in enumerate(spec.get(kind) or ()):
            field = f"{base}.{kind}[{index}]"
            name, image = item.get("name"), item.get("image")
            if not name:
                yield required(f"{field}.name")
            elif not is_label(name):
                yield invalid(f"{field}.name", name, LABEL_TEXT)
            elif name in names:
                yield duplicate(f"{field}.name", name)
            names.add(name or "")
            if not image:
                yield required(f"{field}.image")
            elif image != image.strip():
                yield invalid(f"{field}.image", image, "must not have leading or trailing whitespace")
            for number, port in enumerate(item.get("ports") or ()):
                if not 1 <= int(port.get("containerPort", 0)) <= 65535:
                    where = f"{field}.ports[{number}].containerPort"
                    yield invalid(where, port.get("containerPort", 0), "must be between 1 and 65535, inclusive")
            for number, mount in enumerate(item.get("volumeMounts") or ()):
                if mount.get("name") not in volumes:
                    yield Cause(
                        "FieldValueNotFound",
                        f"{field}.volumeMounts[{number}].name",
                        f"Not found: {shown(mount.get('name'))}",
                    )
            yield from _resources(item.get("resources") or {}, f"{field}.resources")


def _resources(resources: Json, field: str) -> Iterator[Cause]:
    limits = resources.get("limits") or {}
    for name, value in sorted((resources.get("requests") or {}).items()):
        if name in limits and parse(value) > parse(limits[name]):
            yield invalid(f"{field}.requests", value, f"must be less than or equal to {name} limit of {limits[name]}")


def pod(obj: Json, old: Json | None) -> list[Cause]:
    causes = list(_containers(obj["spec"], "spec"))
    if (
        old is not None
        and _frozen(obj["spec"]) != _frozen(old["spec"])
        and obj["spec"].get("nodeName") == old["spec"].get("nodeName")
    ):
        text = (
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
        )
        causes.append(forbidden_field("spec", text))
    return causes


def _frozen(spec: Json) -> Any:
    kept = {key: value for key, value in spec.items() if key not in _MUTABLE}
    for kind in ("containers", "initContainers"):
        if kind in kept:
            kept[kind] = [{k: v for k, v in item.items() if k != "image"} for item in kept[kind]]
    return kept


def templated(obj: Json, old: Json | None) -> list[Cause]:
    """Deployments, ReplicaSets, StatefulSets."""
    spec = obj["spec"]
    causes: list[Cause] = []
    replicas = spec.get("replicas")
    if isinstance(replicas, int) and replicas < 0:
        causes.append(invalid("spec.replicas", replicas, "must be greater than or equal to 0"))
    selector = spec.get("selector")
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if not selector:
        causes.append(required("spec.selector"))
    elif (old is None or selector == old["spec"]["selector"]) and not object_selector(selector)(labels):
        field = "spec.template.metadata.labels"
        causes.append(invalid(field, labels, "`selector` does not match template `labels`"))
    causes.extend(_containers(spec["template"]["spec"], "spec.template.spec"))
    if spec["template"]["spec"].get("restartPolicy", "Always") != "Always":
        policy = spec["template"]["spec"]["restartPolicy"]
        text = f'Unsupported value: "{policy}": supported values: "Always"'
        causes.append(Cause("FieldValueNotSupported", "spec.template.spec.restartPolicy", text))
    if old is not None and selector != old["spec"]["selector"]:
        causes.append(
            Cause("FieldValueInvalid", "spec.selector", f"Invalid value: {shown(selector)}: field is immutable")
        )
    return causes
