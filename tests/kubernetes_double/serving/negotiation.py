"""Content negotiation: JSON, YAML, or an object dressed as a Table or as its metadata alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from kubernetes_double.serving.status import ApiError, Json, unacceptable

_ACCEPTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"


@dataclass(frozen=True)
class Form:
    """How an answer is dressed: `as_` is empty, `Table`, `PartialObjectMetadata` or `PartialObjectMetadataList`."""

    media: str = "application/json"
    as_: str = ""


def negotiate(accept: str) -> Form:
    """Raises `ApiError` 406."""
    if not accept:
        return Form()
    refused = False
    for part in accept.split(","):
        media, *parameters = [piece.strip() for piece in part.split(";")]
        values = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
        if media in ("*/*", "application/*"):
            media = "application/json"
        if media not in ("application/json", "application/yaml"):
            continue
        wanted = values.get("as", "")
        if not wanted:
            return Form(media)
        known = wanted in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
        if known and values.get("g") == "meta.k8s.io" and values.get("v") in ("v1", "v1beta1"):
            return Form(media, wanted)
        refused = True
    if refused:
        raise unacceptable(f"only the following media types are accepted: {_ACCEPTED}")
    raise ApiError(
        406,
        f"406: Not Acceptable\n\nAvailable representations: {_ACCEPTED}, application/json;stream=watch, "
        "application/vnd.kubernetes.protobuf;stream=watch",
        reason="NotAcceptable",
        details={},
    )


def partial(obj: Json) -> Json:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


class _Dumper(yaml.SafeDumper):
    """Quotes with double quotes, as Go does."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    plain = dumper.resolve(yaml.ScalarNode, value, (True, False)) == "tag:yaml.org,2002:str" and value != ""
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def as_yaml(value: Any) -> bytes:
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=False, sort_keys=True, width=2**31)
    return text.encode()
