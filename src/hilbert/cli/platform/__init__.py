"""The platform itself: started, stopped and looked after on this machine, or installed in a cluster."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (
    Noun("config", "The platform's settings on this machine."),
    Noun("install", "Install the platform in a cluster."),
)

COMMANDS: Final = (
    Command(
        "up",
        "platform.up:up",
        "Run the platform on this machine.\n\n"
        "In a folder with a stack file, its functions are built and deployed, on the running gateway or on one\n"
        "that is started in the background. Otherwise the platform runs in the foreground until Ctrl-C.",
        (
            "hilbert up",
            "hilbert up --watch",
            "hilbert up --detach --port 8081",
            "hilbert up --only-gateway --set log.level=debug",
        ),
    ),
    Command(
        "down",
        "platform.down:down",
        "Stop the platform on this machine, after the calls in flight.",
        ("hilbert down",),
    ),
    Command(
        "status",
        "platform.status:status",
        "Show the gateway and how many functions each namespace has.",
        ("hilbert status", "hilbert status --output json"),
    ),
    Command(
        "doctor",
        "platform.doctor:doctor",
        "Find out what is wrong with this installation, a namespace or a function, and how to fix it.\n\n"
        "It also lists what platforms that were killed have left on this machine, and removes it with --fix. "
        "The exit status is 1 if something is broken.",
        (
            "hilbert doctor",
            "hilbert doctor --fix",
            "hilbert doctor --namespace dev",
            "hilbert doctor nodeinfo -n dev --output json",
        ),
    ),
    Command(
        "config show",
        "platform.config:show",
        "Show every setting of the platform and where its value comes from.",
        ("hilbert config show", "hilbert config show --changed"),
    ),
    Command(
        "install kubernetes",
        "platform.install:kubernetes",
        "Install or update the platform in a Kubernetes cluster.\n\n"
        "It can be run again: objects that are already as they should be are left alone.",
        (
            "hilbert install kubernetes --wait",
            "hilbert install kubernetes --dry-run > hilbert.yaml",
            "hilbert install kubernetes --no-cluster-role --namespaces dev-fn,prod-fn --image example.com/hilbert:1",
        ),
    ),
)
