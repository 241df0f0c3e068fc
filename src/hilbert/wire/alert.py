"""Alerts as Prometheus's AlertManager sends them to a webhook (version 4): the fields that scaling reads."""

from __future__ import annotations

import msgspec


class AlertLabels(msgspec.Struct, frozen=True):
    """Of one alert."""

    alertname: str | None = None
    function_name: str | None = None
    """`NAME.NAMESPACE`."""


class Alert(msgspec.Struct, frozen=True):
    """`firing` or `resolved`."""

    status: str | None = None
    labels: AlertLabels | None = None


class AlertReport(msgspec.Struct, frozen=True):
    """The body of a webhook call. Unknown fields are passed over."""

    status: str | None = None
    receiver: str | None = None
    alerts: tuple[Alert, ...] | None = None
