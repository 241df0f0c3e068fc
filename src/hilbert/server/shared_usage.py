"""What namespaces use, where several gateways count: each adds up its own calls, and keeps them where all can read them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from hilbert.control.usage import DAYS_KEPT, Days, Ledger, Use, today
from hilbert.core.errors import HilbertError
from hilbert.core.model import EndpointSet
from hilbert.core.ports import CpuTimes, SharedUsage
from hilbert.core.values import NamespaceName

_log = structlog.get_logger("hilbert.usage")

EVERY: Final = 30.0
"""Seconds: at most so much of what a gateway has counted is lost if it is killed."""
_FORGOTTEN_EVERY: Final = 3600.0


class _Part(msgspec.Struct, array_like=True):
    """One process's part of a day."""

    spaces: dict[str, tuple[str, Use]]
    """By namespace; the text is the id of the very namespace, which one made later under its name does not have."""
    former: dict[str, Use] = {}


class SharedLedger:
    """One gateway's."""

    def __init__(
        self, ledger: Ledger, shared: SharedUsage, *, cpu: CpuTimes | None, keep_counters: Callable[[], None]
    ) -> None:
        """`keep_counters` writes down the counters that the ledger is made of.

        They may outlive this process, while the ledger does not: what they say at its start was counted by the one before.
        """
        self._ledger = ledger
        self._shared = shared
        self._cpu = cpu
        self._keep_counters = keep_counters
        ledger.skip()
        self._ids: dict[str, str] = {}
        self._written: dict[str, bytes] = {}
        self._forgotten_at = 0.0
        self._failing = False

    def seen(self, change: EndpointSet) -> None:
        self._ledger.follow(change)
        self._ledger.gone(change, today())

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.save()

    async def save(self) -> None:
        """Count, and keep what has changed. A cluster that is away is told once; what was counted waits."""
        try:
            if self._cpu is not None:
                self._ledger.note_cpu(await self._cpu.cpu_times(), today())
            self._notice(self._shared.namespace_ids())
            self._ledger.note(today())
            self._keep_counters()  # First: the next process must not count again what is kept here.
            for day in sorted({*self._ledger.days(), *self._ledger.former()}):
                part = self._part(day)
                if self._written.get(day) != part:
                    await self._shared.keep_usage(day, part)
                    self._written[day] = part
            if time.monotonic() - self._forgotten_at > _FORGOTTEN_EVERY:
                await self._shared.forget_usage(_days_ago(DAYS_KEPT))
                self._forgotten_at = time.monotonic()
            self._failing = False
        except HilbertError as exc:
            if not self._failing:
                _log.error("what namespaces have used could not be saved yet", reason=exc.message, detail=exc.detail)
            self._failing = True

    async def read(self) -> tuple[Days, Days]:
        """By day and namespace, of all gateways: namespaces that are there, and former ones of such names."""
        ids = self._shared.namespace_ids()
        days, former = _copy(self._ledger.days()), _copy(self._ledger.former())
        for day, data in await self._shared.usage_elsewhere():
            try:
                part = msgspec.msgpack.decode(data, type=_Part)
            except msgspec.MsgspecError as exc:
                _log.warning("a part of what namespaces have used cannot be read", day=day, reason=str(exc))
                continue
            for name, (number, use) in part.spaces.items():
                where = days if ids.get(name) == number else former
                where.setdefault(day, {}).setdefault(name, Use()).add(use)
            for name, use in part.former.items():
                former.setdefault(day, {}).setdefault(name, Use()).add(use)
        return days, former

    def _notice(self, ids: Mapping[str, str]) -> None:
        """Namespaces that are gone, or that are others of the same name by now."""
        for name, number in self._ids.items():
            if ids.get(name) != number:
                self._ledger.retire(NamespaceName(name), today())
        self._ids = dict(ids)

    def _part(self, day: str) -> bytes:
        spaces = self._ledger.days().get(day, {})
        return msgspec.msgpack.encode(
            _Part(
                {name: (self._ids.get(name, ""), use) for name, use in sorted(spaces.items())},
                dict(sorted(self._ledger.former().get(day, {}).items())),
            )
        )


def _copy(days: Mapping[str, Mapping[str, Use]]) -> Days:
    return {day: {name: msgspec.structs.replace(use) for name, use in spaces.items()} for day, spaces in days.items()}


def _days_ago(count: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - count * 86_400))
