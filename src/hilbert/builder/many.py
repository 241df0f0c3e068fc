"""Several builds at once: threads that can be cancelled together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

import msgspec

from hilbert.builder.programs import Cancelled, Job
from hilbert.core.errors import HilbertError

T = TypeVar("T")


class Result(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What came of one build: a value or an error."""

    job: Job
    value: T | None = None
    error: HilbertError | None = None


def run_all(
    jobs: Sequence[Job],
    work: Callable[[Job], T],
    *,
    parallel: int,
    on_end: Callable[[Result[T]], None] | None = None,
) -> list[Result[T]]:
    """Run `work(job)` for every job, at most `parallel` at once; results in the order of the jobs.

    One that fails does not stop the others. `on_end` is called in this thread as each ends. If this thread is
    interrupted, all programs are ended and all threads waited for before the interruption goes on.
    """
    results: dict[int, Result[T]] = {}

    def one(number: int) -> Result[T]:
        job = jobs[number]
        try:
            return Result(job=job, value=work(job))
        except HilbertError as exc:
            return Result(job=job, error=exc)

    with ThreadPoolExecutor(max(1, parallel), thread_name_prefix="build") as pool:
        pending: dict[Future[Result[T]], int] = {pool.submit(one, number): number for number in range(len(jobs))}
        try:
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    number = pending.pop(future)
                    results[number] = future.result()
                    if on_end is not None:
                        on_end(results[number])
        except BaseException:
            for future in pending:
                future.cancel()
            for job in jobs:
                job.cancel()
            for future in pending:
                if not future.cancelled():
                    _settle(future)
            raise
    return [results[number] for number in range(len(jobs))]


def _settle(future: Future[Result[T]]) -> None:
    """Wait for a build that was cancelled; what it says no longer matters."""
    try:
        future.result()
    except Cancelled:
        return
    except Exception:  # noqa: BLE001 - the interruption is what is reported
        return
