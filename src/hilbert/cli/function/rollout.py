"""Deploying one or more functions and waiting until they are ready."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from hilbert.cli.frame.failures import Failed, hint_of
from hilbert.cli.function.name import full_name
from hilbert.cli.terminal.output import fail, harmless, note, warn
from hilbert.cli.terminal.progress import Progress, progress
from hilbert.cli.terminal.wording import count
from hilbert.client.answers import Accepted
from hilbert.client.sync import Client
from hilbert.core.errors import AlreadyExists, FunctionNotFound, HilbertError, Unauthenticated
from hilbert.kit.pace import Pace
from hilbert.wire.function import Deployment, Function

_POLLS: Final = Pace(first=0.05, most=1.0)
_FAILED_FOR: Final = 1.0
"""Seconds that a function must be seen as failed before its rollout is given up: the state just before may linger."""


_LOST_FOR: Final = 10.0
"""Seconds without an answer of the gateway after which the waiting ends; a restart of it is shorter."""

_MAY_PASS: Final = frozenset({"Unschedulable"})
"""Reasons that go away by themselves where a cluster adds nodes: waited out."""

_PHRASES: Final = {200: " OK", 201: " Created", 202: " Accepted"}


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment is carried out."""

    update: bool = True
    """Update a function that is there, else create it."""
    replace: bool = False
    """Remove it first."""
    wait: bool = True
    ready_within: float = 120.0
    """Seconds."""
    parallel: int = 4
    """Functions at once."""


class Outcome(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came of one function."""

    name: str
    namespace: str = ""
    url: str = ""
    created: bool = False
    status: int = 0
    """HTTP status of the deployment; 0 when none came."""
    ready: bool = False
    seconds: float = 0.0
    error: str = ""
    hint: str = ""
    warning: str = ""
    """What was accepted and has no effect."""


def roll_out(
    open_client: Callable[[], Client], deployments: Sequence[Deployment], how: Rollout, *, quiet: bool = False
) -> list[Outcome]:
    """Deploy all, some at a time, writing what OpenFaaS's command line writes unless `quiet`.

    Failures are in the outcomes. Raises `Unauthenticated` at once, since it holds for all.
    """
    outcomes = [Outcome(name=deployment.service, namespace=deployment.namespace) for deployment in deployments]
    waiting = {outcome.name for outcome in outcomes}

    with progress(_waiting_text(waiting)) as line:

        def work(number: int) -> None:
            outcome = outcomes[number]
            with open_client() as client:
                _deploy(client, deployments[number], outcome, how)
                if not outcome.error and how.wait:
                    wait_until_ready(client, outcome, how.ready_within, told=lambda text: _tell(line, waiting, text))
                if not quiet and not outcome.error:
                    line.say(f"Deployed. {outcome.status}{_PHRASES.get(outcome.status, '')}.\nURL: {outcome.url}\n")
            waiting.discard(outcome.name)
            line.text = _waiting_text(waiting)

        _at_once(work, len(deployments), how.parallel)
    return outcomes


def report(outcomes: Sequence[Outcome]) -> None:
    """Say on the terminal what became ready. Raises `Failed` if anything did not work."""
    for outcome in outcomes:
        if outcome.ready:
            note(f"{full_name(outcome.name, outcome.namespace)} is ready ({outcome.seconds:.1f} s)")
        if outcome.warning:
            warn(harmless(f"{full_name(outcome.name, outcome.namespace)}: {outcome.warning}"))
    failed = [outcome for outcome in outcomes if outcome.error]
    if len(outcomes) == 1 and failed:
        raise Failed(failed[0].error, hint=failed[0].hint)
    if failed:
        for outcome in failed:
            name = full_name(outcome.name, outcome.namespace)
            fail(
                outcome.error if outcome.error.startswith(f"function {name} ") else f"{name}: {outcome.error}",
                outcome.hint,
            )
        raise Failed(f"{len(failed)} of {count(len(outcomes), 'function')} failed to deploy")


def _at_once(work: Callable[[int], None], count: int, workers: int) -> None:
    """Run `work` for each number below `count`, some at a time; raises what the first that failed raised.

    The threads are daemons: an interrupted command ends at once and does not wait for what they wait for.
    """
    if count == 1:
        work(0)
        return
    todo = iter(range(count))
    turn = threading.Lock()
    failures: list[BaseException] = []

    def drain() -> None:
        while not failures:
            with turn:
                number = next(todo, None)
            if number is None:
                return
            try:
                work(number)
            except BaseException as exc:  # noqa: BLE001 - raised again by the thread that waits
                failures.append(exc)

    threads = [threading.Thread(target=drain, daemon=True) for _ in range(min(workers, count))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _waiting_text(names: set[str]) -> str:
    return f"waiting for {', '.join(sorted(list(names)))}"  # noqa: C414 - others change the set; a list is taken whole


def _deploy(client: Client, deployment: Deployment, outcome: Outcome, how: Rollout) -> None:
    outcome.url = f"{client.url}/function/{full_name(deployment.service, deployment.namespace)}"
    try:
        if how.replace:
            with contextlib.suppress(FunctionNotFound):
                client.delete_function(deployment.service, deployment.namespace)
            accepted = _create_when_gone(client, deployment, how.ready_within)
        elif how.update:
            accepted = client.deploy(deployment)
        else:
            accepted = client.create_function(deployment)
        outcome.created, outcome.status, outcome.warning = accepted.created, accepted.status, accepted.warning
    except Unauthenticated:
        raise
    except HilbertError as exc:
        outcome.error, outcome.hint = exc.message, exc.hint
        if not exc.hint and not exc.retryable:
            outcome.hint = _what_is_missing(client, deployment)
        outcome.hint = outcome.hint or hint_of(exc)


def _what_is_missing(client: Client, deployment: Deployment) -> str:
    """The command that creates the namespace or the secrets that a refused deployment needs; empty when all are there."""
    where = deployment.namespace
    try:
        if where and where not in client.list_namespaces():
            return f"create the namespace first: hilbert namespace create {where}"
        wanted = dict.fromkeys(deployment.secrets)
        there = {secret.name for secret in client.list_secrets(where)} if wanted else set()
    except HilbertError:
        return ""
    missing = next((name for name in wanted if name not in there), "")
    option = f" -n {where}" if where else ""
    return f"create the secret first: hilbert secret create {missing}{option} < FILE" if missing else ""


def _create_when_gone(client: Client, deployment: Deployment, within: float) -> Accepted:
    """Create, trying again while the gateway still removes the old function."""
    end = time.monotonic() + within
    asked = 0
    while True:
        try:
            return client.create_function(deployment)
        except HilbertError as exc:
            if not _says_taken(exc) or time.monotonic() > end:
                raise
            asked += 1
            time.sleep(_POLLS.delay(asked))


def _says_taken(error: HilbertError) -> bool:
    return isinstance(error, AlreadyExists) or "already exists" in error.message


def _tell(line: Progress, names: set[str], text: str) -> None:
    line.text = f"{_waiting_text(names)}: {text}" if text and len(names) == 1 else _waiting_text(names)


def wait_until_ready(
    client: Client, outcome: Outcome, within: float, *, told: Callable[[str], None] = lambda _: None
) -> None:
    """Ask until the function is ready, or is seen to fail, or the time is over; the answer goes into `outcome`.

    `told` is called with what it waits for, as far as the gateway says that.
    """
    name = full_name(outcome.name, outcome.namespace)
    began = time.monotonic()
    failing_since = lost_since = None
    seen = Function(name=outcome.name)
    asked = 0
    while True:
        now = time.monotonic()
        try:
            seen = client.get_function(outcome.name, outcome.namespace)
        except FunctionNotFound:
            outcome.error = f"function {name} was removed before it became ready"
            return
        except HilbertError as exc:
            lost_since = lost_since or now
            if not exc.retryable or now - lost_since >= min(_LOST_FOR, within):
                outcome.error, outcome.hint = exc.message, hint_of(exc)
                return
        else:
            lost_since = None
            told(harmless(seen.hilbert.message) if seen.hilbert is not None else "")
            if is_ready(seen) or is_idle(seen):
                outcome.ready = is_ready(seen)
                outcome.seconds = time.monotonic() - began
                return
            failing_since = (failing_since or now) if is_failing(seen) else None
            if failing_since is not None and now - failing_since >= min(_FAILED_FOR, within):
                break
        if now - began >= within:
            break
        asked += 1
        time.sleep(min(_POLLS.delay(asked), within))
    outcome.error = f"function {name} is not ready{_why(seen)}"
    outcome.hint = f"find out more with 'hilbert doctor {name}' and 'hilbert logs {name}'"


def is_ready(function: Function) -> bool:
    """Whether a replica of the newest specification answers; of any, where the gateway does not say."""
    detail = function.hilbert
    if detail is None or not detail.generation:
        return function.available_replicas > 0
    return detail.ready_generation >= detail.generation and function.available_replicas > 0


def is_failing(function: Function) -> bool:
    """Whether the newest specification does not come up; an older one may go on answering."""
    detail = function.hilbert
    if detail is None or detail.reason in _MAY_PASS:
        return False
    return detail.phase == "failed" or bool(detail.reason and detail.ready_generation < detail.generation)


def is_idle(function: Function) -> bool:
    """Whether it is scaled to zero by wish, so that there is nothing to wait for."""
    return function.hilbert is not None and function.hilbert.phase == "idle"


def _why(function: Function) -> str:
    detail = function.hilbert
    if detail is None or not (detail.reason or detail.message):
        return f" ({function.available_replicas} of {count(function.replicas, 'replica')} ready)"
    text = ": ".join(part for part in (detail.reason, detail.message) if part)
    return f": {text}" + ("; the previous version keeps serving" if function.available_replicas else "")
