"""From a function's annotations to its schedules. Pure.

`topic` and `schedule` are OpenFaaS's: with the topic `cron-function`, alone or in a list, the function is called whenever
one of the expressions says so, which are separated by `;`. The others are ours, and may stand on the namespace, too.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from hilbert.control.schedules.expression import When, parse, parse_zone
from hilbert.core.errors import Invalid
from hilbert.core.values import DEFAULT_NAMESPACE, Duration, FunctionName, FunctionRef, parse_boolean

TOPIC: Final = "cron-function"
ANNOTATION_TOPIC: Final = "topic"
ANNOTATION_SCHEDULE: Final = "schedule"
ANNOTATION_ZONE: Final = "com.hilbert.schedule.timezone"
"""Of expressions that name none themselves; UTC without it."""
ANNOTATION_OVERLAP: Final = "com.hilbert.schedule.overlap"
ANNOTATION_CATCH_UP: Final = "com.hilbert.schedule.catch-up"
"""A tick that was missed is made up for, once, if it is not older than this."""
ANNOTATION_JITTER: Final = "com.hilbert.schedule.jitter"
"""Calls are put off by up to this, each by another time."""
ANNOTATION_BODY: Final = "com.hilbert.schedule.body"
ANNOTATION_CONTENT_TYPE: Final = "com.hilbert.schedule.content-type"
ANNOTATION_PAUSED: Final = "com.hilbert.schedule.paused"
ANNOTATION_BY: Final = "com.hilbert.schedule.by"
"""`gateway` (the default), or `connector`: a cron-connector calls the function, and the gateway does not."""

MOST: Final = 32
"""Schedules of one function."""
LATE: Final = 60.0
"""Seconds by which a tick may be late and still count as made in time: a restart loses none."""
MOST_CATCH_UP: Final = 7 * 86_400.0
_MOST_JITTER: Final = 3_600.0
_SHARED: Final = "com.hilbert.schedule."


class Overlap(enum.StrEnum):
    """What happens at a tick while the call of an earlier one has not ended."""

    ALLOW = "allow"
    """Another call is queued, as cron-connector does."""
    SKIP = "skip"
    """The tick is passed over."""
    QUEUE_ONE = "queue-one"
    """One call waits until the other has ended; ticks in the meantime are passed over."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """One expression of one function, with all that goes for it."""

    ref: FunctionRef
    index: int
    """Its place in the annotation, from 0."""
    text: str
    """The expression as it was written."""
    when: When
    zone: str
    overlap: Overlap = Overlap.ALLOW
    catch_up: float = 0.0
    jitter: float = 0.0
    body: bytes = b""
    content_type: str = ""
    paused: bool = False

    @property
    def rule(self) -> str:
        """Changes when its ticks do: from then on they are counted anew."""
        return f"{self.text} [{self.zone}]{' paused' if self.paused else ''}"


class Rules(msgspec.Struct, frozen=True):
    """What the annotations of a function come to."""

    schedules: tuple[Schedule, ...] = ()
    wrong: tuple[str, ...] = ()
    """What cannot be understood, each in a sentence; the rest is in force."""


def rules_of(ref: FunctionRef, annotations: Mapping[str, str], namespace: Mapping[str, str]) -> Rules:
    """The schedules of a function, from its annotations and its namespace's."""
    topics = [topic.strip() for topic in annotations.get(ANNOTATION_TOPIC, "").split(",")]
    if TOPIC not in topics:
        return Rules()
    given = {**{key: text for key, text in namespace.items() if key.startswith(_SHARED)}, **annotations}
    wrong: list[str] = []

    def read(key: str, parse_text: Callable[[str], Any], default: Any) -> Any:
        try:
            return parse_text(given[key].strip()) if key in given else default
        except Invalid as exc:
            wrong.append(f"annotation {key}: {exc.message}")
            return default

    if read(ANNOTATION_BY, _by, "gateway") == "connector":
        return Rules((), tuple(wrong))
    zone = read(ANNOTATION_ZONE, parse_zone, "UTC")
    overlap = read(ANNOTATION_OVERLAP, _overlap, Overlap.ALLOW)
    catch_up = read(ANNOTATION_CATCH_UP, lambda text: _seconds(text, MOST_CATCH_UP), 0.0)
    jitter = read(ANNOTATION_JITTER, lambda text: _seconds(text, _MOST_JITTER), 0.0)
    paused = read(ANNOTATION_PAUSED, parse_boolean, False)
    content_type = read(ANNOTATION_CONTENT_TYPE, _header, "")
    texts = [text.strip() for text in annotations.get(ANNOTATION_SCHEDULE, "").split(";") if text.strip()]
    if not texts:
        wrong.append(f"annotation {ANNOTATION_SCHEDULE}: is missing, and the topic is {TOPIC}")
    if len(texts) > MOST:
        wrong.append(f"annotation {ANNOTATION_SCHEDULE}: has more than {MOST} expressions; those beyond are ignored")
    found = []
    for index, text in enumerate(texts[:MOST]):
        try:
            when = parse(text, zone=zone)
        except Invalid as exc:
            wrong.append(f"annotation {ANNOTATION_SCHEDULE}: {exc.message}")
            continue
        found.append(
            Schedule(
                ref=ref,
                index=index,
                text=text,
                when=when,
                zone=getattr(when, "zone", zone),
                overlap=overlap,
                catch_up=catch_up,
                jitter=jitter,
                body=given.get(ANNOTATION_BODY, "").encode(),
                content_type=content_type,
                paused=paused,
            )
        )
    return Rules(tuple(found), tuple(wrong))


def is_fired(ref: FunctionRef, annotations: Mapping[str, str], namespace: Mapping[str, str]) -> bool:
    """Whether the gateway calls the function at set times."""
    return ANNOTATION_SCHEDULE in annotations and bool(rules_of(ref, annotations, namespace).schedules)


def warnings_of(rules: Rules, now: float) -> list[str]:
    """What whoever deploys should know: what is wrong, and what will never happen."""
    never = [
        f"annotation {ANNOTATION_SCHEDULE}: ({schedule.text}) never comes due in the next five years"
        for schedule in rules.schedules
        if schedule.when.next(now, anchor=now) is None
    ]
    return [*rules.wrong, *never]


def wrong_for_all(namespace: Mapping[str, str]) -> Sequence[str]:
    """What cannot be understood of a namespace's annotations, which go for all its schedules."""
    any_one = FunctionRef(DEFAULT_NAMESPACE, FunctionName("any"))
    return rules_of(any_one, {ANNOTATION_TOPIC: TOPIC, ANNOTATION_SCHEDULE: "@daily"}, namespace).wrong


def _overlap(text: str) -> Overlap:
    try:
        return Overlap(text)
    except ValueError as exc:
        raise Invalid(f"must be {', '.join(Overlap)}") from exc


def _by(text: str) -> str:
    if text not in ("gateway", "connector"):
        raise Invalid("must be gateway or connector")
    return text


def _seconds(text: str, most: float) -> float:
    seconds = Duration.parse(text, bare_seconds=True).seconds
    if seconds > most:
        raise Invalid(f"must be at most {Duration.of(most)}")
    return seconds


def _header(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise Invalid("must be printable ASCII")
    return text
