"""The decision about one function, as a pure function."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.isolation import Promise
from hilbert.core.network import Egress, NetworkKind, NetworkUse
from hilbert.providers.host.decide import Decision, Revision, Stage, View, decide

OPEN, CLOSED = NetworkUse(), NetworkUse(NetworkKind.NONE)
V1, V2 = Revision(1, network=OPEN), Revision(2, network=OPEN)


def views(*items: tuple[str, Stage, Revision | None]) -> list[View]:
    return [View(*item) for item in items]


def test_all_replicas_of_a_new_function_start_at_once() -> None:
    assert decide(3, V1, []) == Decision(start=3)


def test_nothing_to_do_is_nothing() -> None:
    assert decide(1, V1, views(("a", Stage.READY, V1))) == Decision()
    assert decide(2, V1, views(("a", Stage.READY, V1), ("b", Stage.BOOTING, V1))) == Decision()
    assert decide(0, V1, []) == Decision()


def test_a_roll_out_surges_by_a_quarter_and_at_least_one() -> None:
    old = [("a", Stage.READY, V1), ("b", Stage.READY, V1)]
    assert decide(2, V2, views(*old)) == Decision(start=1)
    eight = [(str(n), Stage.READY, V1) for n in range(8)]
    assert decide(8, V2, views(*eight)) == Decision(start=2)


def test_an_old_replica_goes_when_a_current_one_is_ready_in_its_place() -> None:
    given = views(("a", Stage.READY, V1), ("b", Stage.READY, V1), ("c", Stage.BOOTING, V2))
    assert decide(2, V2, given) == Decision()
    given = views(("a", Stage.READY, V1), ("b", Stage.READY, V1), ("c", Stage.READY, V2))
    assert decide(2, V2, given) == Decision(start=1, drain=("b",))


def test_an_old_replica_that_serves_nothing_goes_at_once() -> None:
    assert decide(1, V2, views(("a", Stage.BOOTING, V1))) == Decision(start=1, drain=("a",))


def test_a_replica_that_is_being_started_is_left_until_it_can_be_stopped() -> None:
    assert decide(0, V1, views(("a", Stage.STARTING, V1))) == Decision()
    assert decide(0, None, views(("a", Stage.STARTING, None))).start == 0


def test_what_is_not_ready_goes_first_and_then_the_youngest() -> None:
    given = views(("a", Stage.READY, V1), ("b", Stage.READY, V1), ("c", Stage.BOOTING, V1))
    assert decide(2, V1, given) == Decision(retire=("c",))
    assert decide(1, V1, given) == Decision(retire=("c", "b"))


def test_at_zero_as_many_as_a_call_would_start_are_frozen_and_the_others_go() -> None:
    given = views(("a", Stage.READY, V1), ("b", Stage.READY, V1), ("c", Stage.BOOTING, V1))
    assert decide(0, V1, given, frozen=1) == Decision(freeze=("b",), retire=("c", "a"))
    assert decide(0, V1, given) == Decision(retire=("c", "b", "a"))
    kept = views(("a", Stage.FROZEN, V1), ("b", Stage.COOLING, V1), ("c", Stage.READY, V1))
    assert decide(0, V1, kept, frozen=2) == Decision(retire=("c",))
    assert decide(0, V1, kept, frozen=1) == Decision(drain=("b",), retire=("c",))


def test_what_is_frozen_comes_before_what_would_have_to_be_started() -> None:
    kept = views(("a", Stage.FROZEN, V1), ("b", Stage.COOLING, V1))
    assert decide(1, V1, kept, frozen=2) == Decision(thaw=("a",), drain=("b",))
    assert decide(3, V1, kept, frozen=2) == Decision(thaw=("a", "b"), start=1)
    assert decide(1, V1, [*kept, View("c", Stage.BOOTING, V1)], frozen=2) == Decision(drain=("a", "b"))


def test_what_is_frozen_and_out_of_date_goes() -> None:
    kept = views(("a", Stage.FROZEN, V1), ("b", Stage.COOLING, V1))
    assert decide(0, V2, kept, frozen=2) == Decision(drain=("a", "b"))
    assert decide(1, V2, kept, frozen=2) == Decision(drain=("a", "b"), start=1)
    assert decide(0, None, kept, frozen=2) == Decision(drain=("a", "b"))


def test_an_old_version_serves_until_what_is_thawed_does() -> None:
    kept = views(("a", Stage.READY, V1), ("b", Stage.COOLING, V2))
    assert decide(1, V2, kept) == Decision(thaw=("b",))
    assert decide(1, V2, views(("a", Stage.READY, V1), ("b", Stage.READY, V2))) == Decision(drain=("a",))


def test_the_least_busy_goes_first() -> None:
    """Not the replica with the long call, however young it is."""
    given = [View("a", Stage.READY, V1, 3), View("b", Stage.READY, V1), View("c", Stage.READY, V1, 1)]
    assert decide(2, V1, given) == Decision(retire=("b",))
    assert decide(1, V1, given) == Decision(retire=("b", "c"))


def test_an_unhealthy_replica_is_replaced() -> None:
    assert decide(1, V1, views(("a", Stage.UNHEALTHY, V1))) == Decision(start=1, drain=("a",))


def test_replicas_of_a_function_that_is_gone_are_drained_and_take_no_place() -> None:
    assert decide(1, V1, views(("a", Stage.READY, None))) == Decision(start=1, drain=("a",))
    assert decide(0, None, views(("a", Stage.READY, None), ("b", Stage.DRAINING, None))) == Decision(drain=("a",))


def test_a_stricter_policy_takes_replicas_out_at_once_and_a_laxer_one_rolls() -> None:
    closed = V1._replace(network=CLOSED)
    assert decide(1, closed, views(("a", Stage.READY, V1))) == Decision(start=1, drain=("a",))
    assert decide(1, V1, views(("a", Stage.READY, closed))) == Decision(start=1)
    narrow = V1._replace(network=NetworkUse(egress=Egress.parse("10.1.0.0/16:5432")))
    wide = V1._replace(network=NetworkUse(egress=Egress.parse("internet,10.1.0.0/16:5432")))
    assert decide(1, narrow, views(("a", Stage.READY, wide))) == Decision(start=1, drain=("a",))
    assert decide(1, wide, views(("a", Stage.READY, narrow))) == Decision(start=1)
    strict = V1._replace(required=frozenset({Promise.FILES, Promise.IPC}))
    assert decide(1, strict, views(("a", Stage.READY, V1))) == Decision(start=1, drain=("a",))
    assert decide(1, V1, views(("a", Stage.READY, strict))) == Decision()


def test_a_revision_prints_and_parses() -> None:
    for revision in (
        V1,
        V1._replace(network=NetworkUse(NetworkKind.HOST)),
        V1._replace(network=NetworkUse(egress=Egress.parse("10.1.0.0/16:53/udp"))),
        Revision(7, network=CLOSED, required=frozenset({Promise.NETWORK, Promise.FILES})),
    ):
        assert Revision.parse(str(revision)) == revision


stages = st.sampled_from(Stage)
revisions = st.one_of(
    st.none(),
    st.builds(
        Revision,
        st.integers(1, 3),
        st.sampled_from([OPEN, CLOSED]),
        st.frozensets(st.sampled_from(Promise), max_size=2),
    ),
)


@given(st.integers(0, 6), revisions, st.lists(st.tuples(stages, revisions), max_size=8), st.integers(0, 3))
def test_decisions_keep_their_bounds(
    replicas: int, wanted: Revision | None, given: list[tuple[Stage, Revision | None]], frozen: int
) -> None:
    """Whatever is there: never too many, never something twice, never what serves while nothing takes its place."""
    seen = [View(str(number), stage, revision) for number, (stage, revision) in enumerate(given)]
    decision = decide(replicas, wanted, seen, frozen=frozen)
    by_name = {view.replica: view for view in seen}
    assert len(set(decision.drain)) == len(decision.drain)
    drained = [by_name[name] for name in decision.drain]
    asleep = (Stage.COOLING, Stage.FROZEN)
    assert all(view.stage in (Stage.BOOTING, Stage.READY, Stage.UNHEALTHY, *asleep) for view in drained)
    chosen = [*decision.drain, *decision.retire, *decision.freeze, *decision.thaw]
    assert len(set(chosen)) == len(chosen), "one replica, one thing to do"
    assert all(by_name[name].stage is Stage.READY for name in decision.freeze)
    assert all(by_name[name].stage in asleep for name in decision.thaw)
    assert not decision.freeze or replicas == 0
    kept = [view.replica for view in seen if view.stage in asleep and view.replica not in chosen]
    assert len(kept) + len(decision.freeze) <= frozen, "no more keep their memory than may"
    ended = (Stage.DRAINING, Stage.STOPPING)
    live = [v for v in seen if v.stage not in ended and v not in drained and v.revision is not None]
    surge = max(1, -(-replicas // 4))
    if decision.start:
        assert wanted is not None
        assert len(live) + decision.start <= replicas + surge
    if wanted is not None:
        serving = [
            view
            for view in seen
            if view.stage is Stage.READY and view.revision is not None and view.revision.allowed_by(wanted)
        ]
        kept = [view for view in serving if view not in drained]
        assert len(kept) >= min(len(serving), replicas), "a roll-out took out what had no replacement"


@given(st.integers(0, 6), st.integers(0, 6), st.lists(st.booleans(), max_size=40))
def test_a_roll_out_always_ends(replicas: int, before: int, luck: list[bool]) -> None:
    """Apply decisions until nothing changes: exactly the wanted replicas are left, and enough served all the while."""
    world = {f"old{number}": [Stage.READY, V1] for number in range(before)}
    born = 0
    for lucky in [*luck, *[True] * 60]:
        decision = decide(replicas, V2, [View(name, *state) for name, state in world.items()])
        for name in decision.drain:
            del world[name]
        for _ in range(decision.start):
            born += 1
            world[f"new{born}"] = [Stage.BOOTING, V2]
        assert sum(stage is Stage.READY for stage, _ in world.values()) >= min(before, replicas)
        booting = [name for name, (stage, _) in world.items() if stage is Stage.BOOTING]
        if booting and lucky:
            world[booting[0]][0] = Stage.READY
        elif booting:
            del world[booting[0]]
    assert list(world.values()) == [[Stage.READY, V2]] * replicas
