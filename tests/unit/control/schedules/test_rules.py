"""What annotations say about schedules."""

from __future__ import annotations

import pytest

from hilbert.control.schedules.expression import Cron, Every
from hilbert.control.schedules.rules import MOST, Overlap, Rules, rules_of, warnings_of
from hilbert.core.values import FunctionRef

F = FunctionRef.parse("f.dev")
OURS = "com.hilbert.schedule."


def rules(schedule: str | None = "@hourly", topic: str = "cron-function", *, space: dict[str, str] | None = None, **own: str) -> Rules:  # fmt: skip
    given = {OURS + key.replace("_", "-"): text for key, text in own.items()}
    if schedule is not None:
        given["schedule"] = schedule
    return rules_of(F, {**given, "topic": topic}, space or {})


@pytest.mark.parametrize("topic", ["", "cron", "cron-functions", "Cron-Function", "a,b"])
def test_other_topics_are_none_of_its_business(topic: str) -> None:
    assert rules(topic=topic) == Rules()
    assert rules_of(F, {"schedule": "nonsense"}, {"topic": "cron-function"}) == Rules(), "a namespace has no topic"


def test_one_topic_of_several_will_do() -> None:
    assert len(rules(topic="payments, cron-function").schedules) == 1


def test_several_expressions() -> None:
    found = rules("0 9 * * *; @every 5m ;;CRON_TZ=Asia/Tokyo @daily", timezone="Europe/Berlin")
    assert [(one.index, one.text, one.zone) for one in found.schedules] == [
        (0, "0 9 * * *", "Europe/Berlin"),
        (1, "@every 5m", "Europe/Berlin"),
        (2, "CRON_TZ=Asia/Tokyo @daily", "Asia/Tokyo"),
    ]
    assert isinstance(found.schedules[0].when, Cron)
    assert found.schedules[1].when == Every(300)
    assert not found.wrong


def test_everything_that_can_be_said() -> None:
    (found,) = rules(overlap="queue-one", catch_up="2h", jitter="30", body='{"a": 1}', content_type="application/json", paused="yes").schedules  # fmt: skip
    assert (found.overlap, found.catch_up, found.jitter) == (Overlap.QUEUE_ONE, 7200, 30)
    assert (found.body, found.content_type, found.paused) == (b'{"a": 1}', "application/json", True)


def test_a_namespace_says_it_for_all_its_functions() -> None:
    space = {OURS + "timezone": "Europe/Berlin", OURS + "overlap": "skip", "schedule": "@daily"}
    (found,) = rules(space=space, overlap="allow").schedules
    assert (found.zone, found.overlap, found.text) == ("Europe/Berlin", Overlap.ALLOW, "@hourly")


def test_what_a_connector_calls_the_gateway_does_not() -> None:
    assert rules("nonsense", by="connector") == Rules()
    assert len(rules(space={OURS + "by": "connector"}, by="gateway").schedules) == 1
    assert not rules(space={OURS + "by": "connector"}).schedules


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"timezone": "Mars"}, "annotation com.hilbert.schedule.timezone: (Mars) is not a time zone"),
        ({"overlap": "maybe"}, "annotation com.hilbert.schedule.overlap: must be allow, skip, queue-one"),
        ({"catch_up": "long"}, "com.hilbert.schedule.catch-up: (long) is not a duration"),
        ({"catch_up": "999h"}, "com.hilbert.schedule.catch-up: must be at most 168h"),
        ({"jitter": "2h"}, "com.hilbert.schedule.jitter: must be at most 1h"),
        ({"paused": "perhaps"}, "com.hilbert.schedule.paused: (perhaps) is neither"),
        ({"by": "somebody"}, "com.hilbert.schedule.by: must be gateway or connector"),
        ({"content_type": "a\nb"}, "com.hilbert.schedule.content-type: must be printable"),
    ],
)
def test_what_is_wrong_is_told_and_the_rest_is_in_force(own: dict[str, str], said: str) -> None:
    found = rules(**own)
    assert len(found.schedules) == 1
    assert len(found.wrong) == 1
    assert said in found.wrong[0]


def test_a_wrong_expression_leaves_the_others() -> None:
    found = rules("0 9 * * 7; @hourly")
    assert [one.index for one in found.schedules] == [1], "a place does not change with what stands before it"
    assert found.wrong == ("annotation schedule: day of the week (7): must be from 0 to 6",)
    assert rules(None).wrong == ("annotation schedule: is missing, and the topic is cron-function",)


@pytest.mark.bound("schedules")
def test_there_may_not_be_too_many() -> None:
    found = rules("; ".join(["@daily"] * (MOST + 3)))
    assert len(found.schedules) == MOST
    assert "more than 32" in found.wrong[0]


def test_a_schedule_that_never_comes_is_a_warning() -> None:
    assert warnings_of(rules("0 0 30 2 *; @daily"), 0) == ["annotation schedule: (0 0 30 2 *) never comes due in the next five years"]  # fmt: skip
    assert warnings_of(rules(), 0) == []
