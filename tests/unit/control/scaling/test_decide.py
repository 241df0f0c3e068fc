"""The next count of a function: OpenFaaS's own examples, what other autoscalers got wrong, and what holds for any input."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.control.scaling.decide import STEP, Decision, Reason, decide, recommended
from hilbert.control.scaling.observed import Figure, History, Observed
from hilbert.control.scaling.policy import LoadPolicy, read_policy

RPS = LoadPolicy(kind="rps", target=5, proportion=1, max=20)
CAPACITY = LoadPolicy(kind="capacity", target=1, proportion=1, max=20)


class Function:
    """One function on a clock of the test's own, decided on every step."""

    def __init__(self, policy: LoadPolicy, *, desired: int = 1, now: float = 1000.0, known: float = 3600.0) -> None:
        self.policy = policy
        self.now = now
        self.history = History(now - known)
        self.seen = Observed(desired=desired)
        self.history.note(now, self.seen)
        self.history.last_arrival = now
        self.floor = 0
        self.maintain_min = False

    def step(self, seconds: float = STEP, *, calls: float = 0, inflight: int = 0, **seen: object) -> Decision:
        """Let time pass, with `calls` ended each second, and do as decided."""
        self.now += seconds
        done = round(calls * seconds)
        self.seen = msgspec.structs.replace(
            self.seen,
            started=self.seen.started + done + max(0, inflight - self.seen.inflight),
            completed=self.seen.completed + done,
            inflight=inflight,
            floor=self.floor,
            **seen,
        )
        return self.look()

    def look(self) -> Decision:
        self.history.note(self.now, self.seen)
        decision = decide(self.now, self.policy, self.history, self.seen, maintain_min=self.maintain_min)
        if decision.wanted is not None:
            self.history.recommend(self.now, decision.wanted)
        self.seen = msgspec.structs.replace(self.seen, desired=decision.desired)
        return decision

    def steps(self, count: int, **step: object) -> Decision:
        for _ in range(count - 1):
            self.step(**step)  # type: ignore[arg-type]
        return self.step(**step)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("load", "target", "proportion", "most", "expected"),
    [
        (15, 5, 1, 20, 3),
        (25, 5, 1, 20, 5),
        (90, 100, 0.7, 20, 2),
        (15, 5, 0.9, 20, 4),
        (30, 1, 1, 10, 10),
        (1_000_000, 10, 1, 100, 100),
        (0, 5, 1, 20, 1),
        (45, 50, 0.9, 20, 1),
        (45.1, 50, 0.9, 20, 2),
        (0.3, 0.1, 1, 20, 3),  # 0.3 / 0.1 is a little more than 3 in binary.
        (0.12, 0.06, 1, 20, 2),
    ],
)
def test_the_formula(load: float, target: float, proportion: float, most: int, expected: int) -> None:
    assert recommended(load, LoadPolicy(kind="rps", target=target, proportion=proportion, max=most)) == expected


def test_calls_a_second_scale_up_at_once_and_down_when_they_end() -> None:
    function = Function(RPS)
    assert function.steps(16, calls=14).desired == 3
    down = function.steps(20)
    assert (down.desired, function.seen.desired) == (1, 1)


def test_load_that_has_just_begun_counts_in_full_after_seconds() -> None:
    function = Function(RPS)
    function.step()
    assert function.steps(3, calls=50).desired >= 8


def test_calls_at_once_count_by_their_most_within_45_seconds() -> None:
    function = Function(CAPACITY)
    assert function.step(inflight=7).desired == 7
    assert function.steps(21).desired == 7
    assert function.steps(3).desired == 1


def test_waiting_calls_are_load_before_any_has_ended() -> None:
    function = Function(RPS, desired=1)
    assert function.step(inflight=25, waiting=25).desired == 5


def test_load_at_its_target_adds_nothing() -> None:
    function = Function(RPS, desired=2)
    assert function.steps(60, calls=10).desired == 2


@pytest.mark.parametrize(
    "figure",
    [
        None,
        Figure(math.nan, 1000.0),
        Figure(-1.0, 1000.0),
        Figure(math.inf, 1000.0),
        Figure(5.0, 900.0),  # Older than a minute.
    ],
)
@pytest.mark.parametrize("kind", ["cpu", "queue", "custom_thing"])
def test_a_figure_that_is_not_known_changes_nothing(kind: str, figure: Figure | None) -> None:
    policy = LoadPolicy(kind=kind, target=10, max=9)
    function = Function(policy, desired=4)
    decision = function.step(cpu=figure, queued=figure, custom=figure)
    assert (decision.desired, decision.reason) == (4, Reason.UNKNOWN)
    assert "not known" in decision.message


@pytest.mark.parametrize(("kind", "field"), [("cpu", "cpu"), ("queue", "queued"), ("mine", "custom")])
def test_figures_of_others_scale_both_ways(kind: str, field: str) -> None:
    function = Function(LoadPolicy(kind=kind, target=100, proportion=0.5, max=9), desired=1)
    assert function.step(**{field: Figure(200.0, 1001.0)}).desired == 4  # type: ignore[arg-type]
    assert function.step(**{field: Figure(60.0, 1003.0)}).desired == 2  # type: ignore[arg-type]


def test_figures_are_not_mixed_up() -> None:
    function = Function(LoadPolicy(kind="queue", target=10, proportion=1, max=9))
    now = Figure(1000.0, 1001.0)
    assert function.step(cpu=now, custom=now, queued=Figure(20.0, 1001.0)).desired == 2


def test_the_window_keeps_the_highest_recommendation() -> None:
    function = Function(LoadPolicy(kind="capacity", target=1, proportion=1, max=20, window=300.0), desired=8)
    function.step(inflight=8)
    later = function.steps(100, inflight=2)
    assert (later.desired, later.reason, later.wanted) == (8, Reason.WINDOW, 2)
    assert function.steps(80, inflight=2).desired == 2


def test_the_window_delays_neither_the_way_up_nor_the_way_to_zero() -> None:
    policy = LoadPolicy(kind="capacity", target=1, proportion=1, max=20, window=300.0, zero=True, zero_after=20.0)
    function = Function(policy)
    assert function.step(inflight=9).desired == 9
    assert function.steps(11).desired == 0


@pytest.mark.parametrize("policy", [RPS, CAPACITY])
def test_after_a_start_of_the_gateway_nothing_is_taken_away_before_it_is_known_enough(policy: LoadPolicy) -> None:
    function = Function(policy, desired=7, known=0)
    early = function.steps(20, calls=1)
    assert (early.desired, early.reason) == (7, Reason.RESTARTED)
    assert function.steps(10, calls=1).desired == 1


def test_a_new_leader_scales_up_at_once() -> None:
    function = Function(CAPACITY, desired=2, known=0)
    assert function.step(inflight=6).desired == 6


def test_zero_counts_from_the_last_arrival_not_from_an_average() -> None:
    function = Function(LoadPolicy(kind="rps", zero=True, zero_after=30.0))
    for _ in range(10):  # One call every 20 seconds, 0.05 a second.
        assert function.step(20, calls=0.05).desired == 1
    assert function.step(28).desired == 1
    last = function.step(2)
    assert (last.desired, last.reason) == (0, Reason.IDLE)


def test_a_call_under_way_keeps_it_awake_however_long_it_takes() -> None:
    function = Function(LoadPolicy(kind="rps", zero=True, zero_after=10.0))
    assert function.steps(100, inflight=1).desired == 1
    assert function.steps(4).desired == 1
    assert function.steps(2).desired == 0


def test_queued_calls_keep_it_awake() -> None:
    function = Function(LoadPolicy(kind="", zero=True, zero_after=10.0))
    assert function.steps(20, queued=Figure(1.0, 1010.0)).desired == 1
    assert function.step(queued=Figure(0.0, 1041.0)).desired == 0


def test_without_history_zero_waits_its_whole_time() -> None:
    function = Function(LoadPolicy(kind="rps", zero=True, zero_after=60.0), known=0)
    assert function.steps(29).desired == 1
    assert function.steps(2).desired == 0


def test_zero_holds_for_equal_bounds_and_for_functions_without_load() -> None:
    for policy in (
        LoadPolicy(kind="rps", min=3, max=3, zero=True, zero_after=10.0),
        LoadPolicy(zero=True, zero_after=10.0),
    ):
        function = Function(policy, desired=3)
        assert function.steps(4).desired == 3
        assert function.steps(2).desired == 0


def test_at_zero_no_figure_wakes() -> None:
    function = Function(LoadPolicy(kind="mine", zero=True), desired=0)
    decision = function.step(custom=Figure(1e6, 1001.0))
    assert (decision.desired, decision.reason, decision.again) == (0, Reason.ASLEEP, None)


def test_equal_bounds_are_left_alone() -> None:
    function = Function(LoadPolicy(kind="rps", min=2, max=2, target=1), desired=5)
    assert function.step(calls=1000).reason is Reason.UNSCALED
    assert function.seen.desired == 5


def test_a_lower_most_holds_at_once_also_without_history() -> None:
    function = Function(msgspec.structs.replace(CAPACITY, max=3), desired=12, known=0)
    assert function.step(inflight=12).desired == 3


def test_a_count_below_the_least_is_raised_by_load_or_on_wish() -> None:
    function = Function(LoadPolicy(kind="rps", min=3, max=9), desired=1)
    assert function.step().desired == 1
    function.maintain_min = True
    assert function.step().desired == 3
    function = Function(LoadPolicy(kind="rps", min=3, max=9), desired=1)
    assert function.steps(3, calls=5).desired == 3


def test_an_alert_holds_its_count_while_it_fires() -> None:
    function = Function(RPS, desired=1)
    function.floor = 4
    up = function.step(calls=1)
    assert (up.desired, up.reason) == (4, Reason.ALERT)
    assert function.steps(60, calls=1).desired == 4
    function.floor = 0
    assert function.step(calls=1).desired == 1


def test_an_alert_keeps_it_from_zero() -> None:
    function = Function(LoadPolicy(kind="rps", zero=True, zero_after=10.0))
    function.floor = 1
    assert function.steps(30).desired == 1


def test_counters_that_begin_anew_are_no_load() -> None:
    function = Function(RPS)
    function.steps(20, calls=4)
    function.seen = msgspec.structs.replace(function.seen, started=0, completed=0)
    assert function.step(calls=0).desired == 1


def test_a_spike_decays_while_load_grows_slowly() -> None:
    """Knative held the height of a spike for as long as load went up by one each tick."""
    function = Function(CAPACITY)
    function.step(inflight=18)
    for load in range(1, 26):
        decision = function.step(inflight=load // 3)
    assert decision.desired == 8


def test_an_idle_function_asks_for_no_further_look() -> None:
    function = Function(RPS)
    function.steps(20, calls=9)
    assert function.steps(40).again is None
    sleepy = Function(LoadPolicy(kind="rps", zero=True, zero_after=900.0))
    assert sleepy.step().again == pytest.approx(900.0 - STEP)


@given(
    low=st.integers(1, 30),
    span=st.integers(0, 30),
    target=st.floats(0.01, 1000),
    window=st.sampled_from([0.0, 20.0, 300.0]),
    kind=st.sampled_from(["rps", "capacity", "cpu", "queue", "mine"]),
    zero=st.booleans(),
    loads=st.lists(
        st.tuples(st.floats(0.1, 100), st.integers(0, 500), st.integers(0, 60), st.floats(allow_nan=True)), max_size=40
    ),
    desired=st.integers(0, 100),
)
def test_whatever_comes_the_bounds_hold(
    low: int,
    span: int,
    target: float,
    window: float,
    kind: str,
    zero: bool,
    loads: list[tuple[float, int, int, float]],
    desired: int,
) -> None:
    policy = LoadPolicy(kind=kind, target=target, min=low, max=low + span, window=window, zero=zero, zero_after=60.0)
    function = Function(policy, desired=desired)
    for seconds, calls, inflight, figure in loads:
        before = function.seen.desired
        told = Figure(figure, function.now)
        decision = function.step(seconds, calls=calls / seconds, inflight=inflight, cpu=told, queued=told, custom=told)
        assert decision.message
        if decision.desired != before:
            assert decision.desired == 0 or low <= decision.desired <= low + span
        if decision.desired == 0 and before:
            assert zero
            assert inflight == 0
            assert not (math.isfinite(figure) and figure > 0)
        if before == 0:
            assert decision.desired == 0


@given(calls=st.floats(0.1, 400), target=st.floats(0.5, 100), start=st.integers(1, 40), at=st.floats(0, 1e9))
def test_constant_load_settles_and_time_of_day_does_not_matter(
    calls: float, target: float, start: int, at: float
) -> None:
    function = Function(LoadPolicy(kind="rps", target=target, max=40), desired=start, now=at)
    function.steps(40, calls=calls)
    settled = {function.step(calls=calls).desired for _ in range(30)}
    # Whole calls, and a span that is cut in steps of two seconds: a tenth, or one, is what that can make.
    assert max(settled) - min(settled) <= max(1, max(settled) / 10)


def test_labels_are_read_as_openfaas_reads_them() -> None:
    scale = "com.openfaas.scale."
    assert read_policy({}) == (LoadPolicy(), ())
    assert read_policy({f"{scale}type": "capacity"})[0].kind == "capacity"
    assert read_policy({f"{scale}target": "0.06"})[0] == LoadPolicy(kind="rps", target=0.06)
    assert read_policy({f"{scale}max": "2"})[0] == LoadPolicy(kind="rps", target=5.0, max=2)
    assert read_policy({f"{scale}min": "2"})[0] == LoadPolicy(min=2)
    assert read_policy({f"{scale}down.window": "300s"})[0].window == 300
    assert read_policy({f"{scale}zero": "true", f"{scale}zero-duration": "10m"})[0].zero_after == 600
    policy, wrong = read_policy(
        {
            f"{scale}type": "rate of/../x",
            f"{scale}target": "50Mi",
            f"{scale}target-proportion": "1.5",
            f"{scale}zero": "maybe",
            f"{scale}zero-duration": "soon",
            f"{scale}down.window": "1h",
        }
    )
    assert policy == LoadPolicy(kind="rps", window=300.0)
    assert len(wrong) == 6
    assert all(line.startswith(scale) for line in wrong)
