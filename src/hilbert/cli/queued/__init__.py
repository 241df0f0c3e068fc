"""`hilbert calls`, `queues` and `schedules`: calls that are made later."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (
    Noun("calls", "Queued calls: their state, their answers, and those that were given up.", ("call",)),
    Noun("schedules", "Functions that are called at certain times.", ("schedule",)),
)

COMMANDS: Final = (
    Command(
        "calls list",
        "queued.calls:list_calls",
        "List queued calls of a namespace, the oldest first, also those that have ended in the last day.",
        ("hilbert calls list -n dev", "hilbert calls list report -n dev --state dead"),
        ("ls",),
    ),
    Command(
        "calls show",
        "queued.calls:show",
        "Show the state of a queued call.",
        ("hilbert calls show 5b0c2b3e-9d3c-4d0a-9a55-3f5f0f4e8a11",),
        ("get",),
    ),
    Command(
        "calls result",
        "queued.calls:result",
        "Write the answer to a queued call to standard output.\n\n"
        "Answers are kept if the function or its namespace has the annotation com.hilbert.async.results; those of dead letters always are.",
        ("hilbert calls result 5b0c2b3e-9d3c-4d0a-9a55-3f5f0f4e8a11 > answer.json",),
    ),
    Command(
        "calls request",
        "queued.calls:request",
        "Write the body of a queued call's request to standard output, while the call waits, runs, or is a dead letter.",
        ("hilbert calls request 5b0c2b3e-9d3c-4d0a-9a55-3f5f0f4e8a11",),
    ),
    Command(
        "calls cancel",
        "queued.calls:cancel",
        "Cancel queued calls; one that is already running is stopped.",
        ("hilbert calls cancel 5b0c2b3e-9d3c-4d0a-9a55-3f5f0f4e8a11",),
    ),
    Command(
        "calls redrive",
        "queued.calls:redrive",
        "Queue dead letters again, with a full set of attempts.",
        (
            "hilbert calls redrive 5b0c2b3e-9d3c-4d0a-9a55-3f5f0f4e8a11 -n dev",
            "hilbert calls redrive --all --function report -n dev",
        ),
    ),
    Command(
        "calls purge",
        "queued.calls:purge",
        "Delete dead letters, with their requests and answers.",
        ("hilbert calls purge --all -n dev",),
    ),
    Command(
        "queues",
        "queued.queues:queues",
        "Show how many queued calls wait, run and were given up, by function.",
        ("hilbert queues", "hilbert queues -n dev --json"),
    ),
    Command(
        "schedules list",
        "queued.schedules:list_schedules",
        "List the schedules of a namespace, including invalid ones.",
        ("hilbert schedules list -n dev",),
        ("ls",),
    ),
    Command(
        "schedules next",
        "queued.schedules:next_times",
        "Show the next times at which a function is called.",
        ("hilbert schedules next report -n dev --count 10",),
    ),
    Command(
        "schedules pause",
        "queued.schedules:pause",
        "Pause the schedules of a function. Calls that come due while it is paused are skipped.",
        ("hilbert schedules pause report -n dev",),
    ),
    Command(
        "schedules resume",
        "queued.schedules:resume",
        "Resume the schedules of a function.",
        ("hilbert schedules resume report -n dev",),
    ),
    Command(
        "schedules run",
        "queued.schedules:run",
        "Queue the call of a function's schedule now, and print its call id.",
        ("hilbert schedules run report -n dev", "hilbert schedules run report -n dev --index 1"),
    ),
)
