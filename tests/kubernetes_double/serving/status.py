"""What the API server answers when it refuses: a Status object with reason, details and causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
"""An object as JSON has it."""


class ApiError(Exception):
    """A refusal; `status` is the body of the answer."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        details: Json | None = None,
        metadata: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.headers = dict(headers or {})
        self.status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata or {},
            "status": "Failure",
            "message": message,
        }
        if reason:
            self.status["reason"] = reason
        if details is not None:
            self.status["details"] = details
        self.status["code"] = code


class PlainError(Exception):
    """A refusal in plain text, as the HTTP server below the API gives it."""

    def __init__(self, code: int, text: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.headers = dict(headers or {})


class Cause:
    """One thing that is wrong with one field."""

    def __init__(self, reason: str, field: str, message: str) -> None:
        self.reason = reason
        self.field = field
        self.message = message

    def __repr__(self) -> str:
        return f"{self.field}: {self.message}"

    def to_json(self) -> Json:
        return {"reason": self.reason, "message": self.message, "field": self.field}


def go_quote(value: str) -> str:
    """`value` as Go prints it with %q."""
    out = ['"']
    for char in value:
        if char in '"\\':
            out.append("\\" + char)
        elif char == "\n":
            out.append("\\n")
        elif char == "\t":
            out.append("\\t")
        elif char == "\r":
            out.append("\\r")
        elif ord(char) < 0x20 or ord(char) == 0x7F:
            out.append(f"\\x{ord(char):02x}")
        else:
            out.append(char)
    return "".join([*out, '"'])


def shown(value: Any) -> str:
    """A value inside the text of a cause."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return go_quote(value)
    if value is None:
        return "null"
    if isinstance(value, (dict, list)):
        import json

        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return str(value)


def required(field: str, text: str = "") -> Cause:
    return Cause("FieldValueRequired", field, f"Required value: {text}" if text else "Required value")


def invalid(field: str, value: Any, text: str) -> Cause:
    return Cause("FieldValueInvalid", field, f"Invalid value: {shown(value)}: {text}")


def forbidden_field(field: str, text: str) -> Cause:
    return Cause("FieldValueForbidden", field, f"Forbidden: {text}")


def duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", field, f"Duplicate value: {shown(value)}")


def too_long(field: str, most: int, *, unit: str = "bytes") -> Cause:
    return Cause("FieldValueTooLong", field, f"Too long: may not be more than {most} {unit}")


def unsupported(field: str, value: Any, choices: Sequence[str]) -> Cause:
    listed = ", ".join(go_quote(choice) for choice in choices)
    return Cause("FieldValueNotSupported", field, f"Unsupported value: {shown(value)}: supported values: {listed}")


def group_kind(group: str, kind: str) -> str:
    return f"{kind}.{group}" if group else kind


def group_resource(group: str, resource: str) -> str:
    return f"{resource}.{group}" if group else resource


def _details(name: str, group: str, kind: str) -> Json:
    details: Json = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    return details


def invalid_object(group: str, kind: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 with a cause for each field."""
    texts: list[str] = []
    for cause in causes:
        text = f"{cause.field}: {cause.message}"
        if text not in texts:
            texts.append(text)
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = _details(name, group, kind)
    details["causes"] = [cause.to_json() for cause in causes]
    return ApiError(
        422, f"{group_kind(group, kind)} {go_quote(name)} is invalid: {joined}", reason="Invalid", details=details
    )


def not_found(group: str, resource: str, name: str) -> ApiError:
    return ApiError(
        404,
        f"{group_resource(group, resource)} {go_quote(name)} not found",
        reason="NotFound",
        details=_details(name, group, resource),
    )


def no_such_path() -> ApiError:
    return ApiError(404, "the server could not find the requested resource", reason="NotFound", details={})


def already_exists(group: str, resource: str, name: str, *, deleting: bool = False) -> ApiError:
    prefix = "object is being deleted: " if deleting else ""
    return ApiError(
        409,
        f"{prefix}{group_resource(group, resource)} {go_quote(name)} already exists",
        reason="AlreadyExists",
        details=_details(name, group, resource),
    )


def conflict(group: str, resource: str, name: str, text: str) -> ApiError:
    return ApiError(
        409,
        f"Operation cannot be fulfilled on {group_resource(group, resource)} {go_quote(name)}: {text}",
        reason="Conflict",
        details=_details(name, group, resource),
    )


def forbidden(group: str, resource: str, name: str, text: str, causes: Sequence[Cause] = ()) -> ApiError:
    """403 by admission or by a rule of the resource."""
    details = _details(name, group, resource)
    if causes:
        details["causes"] = [cause.to_json() for cause in causes]
    subject = f" {go_quote(name)}" if name else ""
    return ApiError(
        403, f"{group_resource(group, resource)}{subject} is forbidden: {text}", reason="Forbidden", details=details
    )


def bad_request(text: str) -> ApiError:
    return ApiError(400, text, reason="BadRequest")


def method_not_allowed() -> ApiError:
    return ApiError(
        405, "the server does not allow this method on the requested resource", reason="MethodNotAllowed", details={}
    )


def expired(text: str, *, metadata: Json | None = None) -> ApiError:
    return ApiError(410, text, reason="Expired", metadata=metadata)


def throttled(
    seconds: int, text: str = "the server has received too many requests and has asked us to try again later"
) -> ApiError:
    return ApiError(
        429,
        text,
        reason="TooManyRequests",
        details={"retryAfterSeconds": seconds},
        headers={"Retry-After": str(seconds)},
    )


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", reason="Unauthorized")


def unacceptable(text: str) -> ApiError:
    return ApiError(406, text, reason="NotAcceptable")


def success(group: str, resource: str, name: str, uid: str) -> Json:
    """What DELETE answers when the object is gone."""
    details = _details(name, group, resource)
    details["uid"] = uid
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
