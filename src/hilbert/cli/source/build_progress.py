"""How builds are shown while they run, and what is said of them at the end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from hilbert.cli.frame.failures import Failed
from hilbert.cli.terminal.output import harmless, out, paint, warn
from hilbert.cli.terminal.progress import Progress
from hilbert.cli.terminal.wording import count
from hilbert.core.errors import HilbertError

if TYPE_CHECKING:
    from hilbert.builder.build_request import BuildRequest
    from hilbert.builder.many import Result
    from hilbert.builder.programs import Job

_SHOWN_LINES: Final = 40


class Outcome(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came of one function."""

    name: str
    image: str = ""
    kind: str = ""
    digest: str = ""
    """Of a bundle, or of an image that is in the store of this machine."""
    changed: bool = False
    """Its name meant something else before."""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    """What was asked for and has no effect."""
    error: str = ""
    hint: str = ""


def run_builds(
    requests: Sequence[BuildRequest],
    work: Callable[[Job, BuildRequest], Outcome],
    quiet: bool,
    verbose: bool,
    *,
    parallel: int,
    verb: str,
) -> list[Outcome]:
    """Run builds, at most `parallel` at once, showing how they go. Raises `Failed` if any failed."""
    from hilbert.builder.many import run_all
    from hilbert.builder.programs import Job

    by_name = {request.name: request for request in requests}
    jobs = [Job(request.name, on_line=_echo(request.name) if verbose else None) for request in requests]
    with Board(jobs, verb=verb, quiet=quiet) as board:
        results = run_all(jobs, lambda job: work(job, by_name[job.name]), parallel=parallel, on_end=board.end)
    for result in results:
        for note in result.value.notes if result.value is not None and not quiet else ():
            warn(f"{result.job.name}: {note}")
    report(results, "built" if verb == "Building" else "published")
    return [to_outcome(result) for result in results]


def show_failure(name: str, error: HilbertError, log: Sequence[str] = ()) -> None:
    """The end of a failed build's log, on standard error."""
    lines = getattr(error, "log", ()) or log
    if lines:
        sys.stderr.write(f"{paint(f'--- {name}: end of the build log', '1', sys.stderr)}\n")
        sys.stderr.writelines(f"{harmless(line)}\n" for line in list(lines)[-_SHOWN_LINES:])


class Board:
    """Progress: a moving line at a terminal, a line at the beginning and end of each build everywhere."""

    def __init__(self, jobs: Sequence[Job], *, verb: str, quiet: bool) -> None:
        self._jobs = jobs
        self._verb = verb
        self._quiet = quiet
        self._open = {job.name for job in jobs}
        self._line = Progress("", after=0.3)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="build progress", daemon=True)

    def __enter__(self) -> Board:
        if not self._quiet:
            for number, job in enumerate(self._jobs):
                out(f"[{number}] > {self._verb} {job.name}.")
            sys.stdout.flush()
            self._line.start()
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
            self._line.stop()

    def end(self, result: Result[Outcome]) -> None:
        """One build has ended."""
        self._open.discard(result.job.name)
        if self._quiet:
            return
        number = [job.name for job in self._jobs].index(result.job.name)
        if result.value is None:
            self._line.say(f"[{number}] < {self._verb} {result.job.name} failed.")
            return
        done = result.value
        what = f" {done.kind} {done.image}" if done.image else ""
        digest = f" {done.digest[:19]}" if done.digest else ""
        same = " (unchanged)" if done.kind == "bundle" and not done.changed else ""
        self._line.say(f"[{number}] < {self._verb} {done.name} done in {done.seconds:.2f}s.{what}{digest}{same}")

    def _refresh(self) -> None:
        while not self._ended.wait(0.1):
            self._line.text = ", ".join(f"{job.name}: {job.step}" for job in self._jobs if job.name in self._open)


def _echo(name: str) -> Callable[[str], None]:
    return lambda line: print(f"{name}: {harmless(line)}", file=sys.stderr, flush=True)


def to_outcome(result: Result[Outcome]) -> Outcome:
    """Of one build, whether it worked or not."""
    if result.value is not None:
        return result.value
    error = result.error or HilbertError("the build was cancelled")
    return Outcome(name=result.job.name, error=error.message, hint=error.hint)


def report(results: Sequence[Result[Outcome]], done: str) -> None:
    """Show what failed. Raises the one failure, or `Failed` for several."""
    failed = [(result.job, result.error) for result in results if result.error is not None]
    for job, error in failed:
        show_failure(job.name, error, job.tail())
    if len(results) == 1 and failed:
        raise failed[0][1]
    if failed:
        for job, error in failed:
            warn(f"{job.name}: {error.message}")
        raise Failed(f"{len(failed)} of {count(len(results), 'function')} could not be {done}", hint=failed[0][1].hint)
