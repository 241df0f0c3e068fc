"""What becomes of Pods: by image, or by a rule that a test gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kubernetes_double.serving.status import Json


@dataclass(frozen=True)
class Outcome:
    """How a Pod fares. Without more it starts and becomes ready; nothing listens at its address."""

    waiting: str = ""
    """The container never starts: ErrImagePull, InvalidImageName, ErrImageNeverPull, CreateContainerConfigError, RunContainerError."""
    message: str = ""
    unschedulable: str = ""
    """The text of the scheduler, which finds no node."""
    sandbox: str = ""
    """Why not even its sandbox can be made; it stays in ContainerCreating."""
    exits: Sequence[int] = ()
    """Exit codes of one start after the other; the last one repeats. Empty: it runs."""
    oom: bool = False
    """The exits are the kernel's: OOMKilled."""
    killed: bool = False
    """Its liveness probe fails: it is killed and started again, and is not seen in between."""
    start_error: str = ""
    """Why its command cannot be run."""
    runs: float = 0.0
    """Seconds that a container runs before it exits."""
    ready: bool = True
    ready_after: float = 0.0
    log: Sequence[str] = ()
    """Lines that each start writes."""
    stop_code: int = 0
    """With which it ends on SIGTERM."""
    process: Process | None = None
    """A real process at the Pod's address."""


@dataclass(frozen=True)
class Process:
    """A real process that takes the place of a container: argv, with a listening socket handed over.

    The container's own `args` are added to `argv`. In `argv` and in `over`, `{address}` is the Pod's address and `{folder}`
    its folder: the files of its secrets are in `secrets` there, those of its service account (`token`, `ca.crt`,
    `namespace`) in `account`, its emptyDirs in `volumes`.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """What the image would bring along; the container's own `env` comes on top."""
    over: Mapping[str, str] = field(default_factory=dict)
    """What must differ from a real node; on top of the container's own `env`."""
    listens: bool = False
    """It opens its ports itself, at the Pod's address; no socket is handed over."""


RUNNING = Outcome()
Rule = Callable[[Json], Outcome | None]


def absent(image: str) -> Outcome:
    """The registry does not have it."""
    text = (
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": failed to resolve image: '
        f"{image}: not found"
    )
    return Outcome(waiting="ErrImagePull", message=text)


def misnamed(image: str) -> Outcome:
    name = image.rpartition("/")[2].partition(":")[0]
    text = (
        f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": invalid reference format: '
        f"repository name ({name}) must be lowercase"
    )
    return Outcome(waiting="InvalidImageName", message=text)


def unlabelled(node_count: int = 1) -> Outcome:
    """No node has the labels that are asked for."""
    text = f"{node_count} node(s) didn't match Pod's node affinity/selector."
    return Outcome(unschedulable=_no_node(node_count, text))


def too_big(what: str = "cpu", node_count: int = 1) -> Outcome:
    return Outcome(unschedulable=_no_node(node_count, f"{node_count} Insufficient {what}."))


def _no_node(count: int, why: str) -> str:
    return (
        f"0/{count} nodes are available: {why} no new claims to deallocate, preemption: 0/{count} nodes are available: "
        f"{count} Preemption is not helpful for scheduling."
    )


def crashing(code: int = 1, *, runs: float = 0.0, log: Sequence[str] = ()) -> Outcome:
    return Outcome(exits=(code,), runs=runs, log=log)


def out_of_memory(*, runs: float = 0.0) -> Outcome:
    return Outcome(exits=(137,), oom=True, runs=runs)


def never_ready() -> Outcome:
    return Outcome(ready=False)


class Images:
    """Which image does what. `cluster.images["registry/x:1"] = crashing(3)`; rules come first.

    An image called `absent` cannot be pulled, one with capitals in its name is refused, every other one runs.
    """

    def __init__(self) -> None:
        self._known: dict[str, Outcome] = {}
        self.rules: list[Rule] = []
        self.otherwise = RUNNING

    def __setitem__(self, image: str, outcome: Outcome) -> None:
        self._known[image] = outcome

    def __delitem__(self, image: str) -> None:
        self._known.pop(image, None)

    def outcome(self, pod: Json) -> Outcome:
        """Of a Pod, by its first container."""
        for rule in self.rules:
            found = rule(pod)
            if found is not None:
                return found
        image = str(pod["spec"]["containers"][0].get("image", ""))
        if image in self._known:
            return self._known[image]
        if image.rpartition("/")[2].partition(":")[0] != image.rpartition("/")[2].partition(":")[0].lower():
            return misnamed(image)
        name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
        if name != "absent":
            return self.otherwise
        if pod["spec"]["containers"][0].get("imagePullPolicy") == "Never":
            text = f'Container image "{image}" is not present with pull policy of Never'
            return Outcome(waiting="ErrImageNeverPull", message=text)
        return absent(image)
