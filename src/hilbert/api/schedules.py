"""`/system/schedules`: what functions' annotations say about times, and what holds them back or hurries them."""

from __future__ import annotations

from typing import Final

from hilbert.api import targets
from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import NAMESPACE, Body, Call, Endpoint, Query
from hilbert.api.problems import RESERVED_READ
from hilbert.control.schedules.firing import Firing, Shown
from hilbert.core import errors
from hilbert.core.errors import NotFound, Unsupported
from hilbert.core.identity import Action
from hilbert.wire.queued import Done
from hilbert.wire.schedule import (
    ChangeSchedules,
    QueuedId,
    RunSchedule,
    ScheduleInfo,
    ScheduleProblem,
    Schedules,
    moments,
)

GROUP: Final = "Schedules"
PATH: Final = "/system/schedules"
OF_FUNCTION: Final = "/system/schedules/{name}"
MOST_TIMES: Final = 100

FUNCTION: Final = Query("function", "Only those of this function.")
COUNT: Final = Query("count", f"How many of the next times to list, up to {MOST_TIMES}; 5 if absent.")

CHANGE: Final = Body(ChangeSchedules, "say 'paused': true or false")
RUN: Final = Body(RunSchedule, None)
_READ: Final = (errors.BackendUnavailable, errors.Unsupported)
_WRITE: Final = (*_READ, errors.StorageFull, errors.FunctionNotFound, errors.NotFound)


async def list_schedules(call: Call) -> Answer:
    firing = _firing(call)
    count = call.whole(COUNT, 5, most=MOST_TIMES)
    space, function = call.namespace.name, call.query(FUNCTION)
    found = await firing.list(space, function=function, count=count)
    problems = [
        ScheduleProblem(ref.name, problem)
        for ref, wrong in firing.all_wrong(space)
        if function in ("", ref.name)
        for problem in wrong
    ]
    return json(Schedules(tuple(_info(shown) for shown in found), tuple(problems)))


async def change_schedules(call: Call) -> Answer:
    await call.services.provider.get(call.ref)
    count = await _firing(call).pause(call.ref, paused=call.given(CHANGE).paused)
    return json(Done(count), status=202)


async def run_schedule(call: Call) -> Answer:
    await call.services.provider.get(call.ref)
    index = call.given(RUN).index
    if index is not None and index < 0:
        raise NotFound(f"{call.ref} has no schedule with the index {index}")
    return json(QueuedId(await _firing(call).run(call.ref, index=index, by=call.caller.identity)), status=202)


def _firing(call: Call) -> Firing:
    if call.services.firing is None:
        raise Unsupported(
            "this gateway fires no schedules",
            hint="a cron-connector can; see docs/guides/schedules.md for when the gateway does",
        )
    return call.services.firing


def _info(shown: Shown) -> ScheduleInfo:
    schedule, mark = shown.schedule, shown.mark
    return ScheduleInfo(
        function=schedule.ref.name,
        namespace=schedule.ref.namespace,
        index=schedule.index,
        schedule=schedule.text,
        timezone=schedule.zone,
        overlap=schedule.overlap.value,
        paused=schedule.paused or (mark is not None and mark.paused),
        next=moments(shown.next),
        last_call_id=mark.call if mark is not None else "",
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path=PATH,
        handler=list_schedules,
        access=Action.SCHEDULE_LIST,
        target=targets.namespace(),
        group=GROUP,
        summary="List the schedules of a namespace, with the next times of each",
        query=(NAMESPACE, FUNCTION, COUNT),
        answer=Schedules,
        errors=(*_READ, errors.Invalid),
        retold=RESERVED_READ,
    ),
    Endpoint(
        method="PUT",
        path=OF_FUNCTION,
        handler=change_schedules,
        access=Action.SCHEDULE_UPDATE,
        target=targets.function(targets.in_path, lambda call: call.given(CHANGE).namespace),
        group=GROUP,
        summary="Pause or resume the schedules of a function",
        query=(NAMESPACE,),
        body=CHANGE,
        success=202,
        answer=Done,
        errors=(*_WRITE, errors.Conflict),
        retold=RESERVED_READ,
    ),
    Endpoint(
        method="POST",
        path=OF_FUNCTION,
        handler=run_schedule,
        access=Action.SCHEDULE_RUN,
        target=targets.function(targets.in_path, lambda call: call.given(RUN).namespace),
        group=GROUP,
        summary="Queue the call of a function's schedule now",
        query=(NAMESPACE,),
        body=RUN,
        success=202,
        answer=QueuedId,
        errors=(*_WRITE, errors.QueueFull),
        retold=RESERVED_READ,
    ),
)
