"""Loads of an administrator's own, measured by a Prometheus server and read by the name of their kind.

The series is the one that OpenFaaS's autoscaler reads: `job:function_current_load:sum{scaling_type="NAME"}`, with the label
`function_name="FUNCTION.NAMESPACE"`. Recording rules that were written for it work unchanged.
"""

from __future__ import annotations

import asyncio
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from hilbert.core.errors import BackendUnavailable, Invalid
from hilbert.core.values import FunctionRef

_TIMEOUT: Final = 5.0
"""Seconds."""
MOST: Final = 16 << 20
"""Bytes of an answer: 100,000 functions take about 12 MiB."""


class _Sample(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class _Data(msgspec.Struct):
    result: list[_Sample] = []


class _Answer(msgspec.Struct):
    data: _Data


class Prometheus:
    """Asks one server."""

    def __init__(self, url: str) -> None:
        """`url` is the server's, without a path."""
        self._url = url.rstrip("/")

    async def load(self, kind: str) -> Mapping[FunctionRef, float]:
        """The load of this kind, by function. Raises `BackendUnavailable`."""
        query = f'job:function_current_load:sum{{scaling_type="{kind}"}}'
        return await asyncio.to_thread(self._ask, f"{self._url}/api/v1/query?query={quote(query)}")

    def _ask(self, url: str) -> Mapping[FunctionRef, float]:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 - an administrator's own address
                body = answer.read(MOST + 1)
            if len(body) > MOST:
                raise BackendUnavailable(f"Prometheus at {self._url} answered with more than {MOST >> 20} MiB")
            samples = msgspec.json.decode(body, type=_Answer).data.result
        except (OSError, urllib.error.URLError, http.client.HTTPException, msgspec.MsgspecError, ValueError) as exc:
            raise BackendUnavailable(
                f"Prometheus at {self._url} gave no answer", detail=str(exc), hint="check scaling.prometheus_url"
            ) from exc
        found: dict[FunctionRef, float] = {}
        for sample in samples:
            try:
                found[FunctionRef.parse(sample.metric.get("function_name", ""))] = float(sample.value[1])
            except (Invalid, ValueError):
                continue  # A series of something else.
        return found
