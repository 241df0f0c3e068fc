"""A walk through the platform against a gateway of its own: every command is printed, then really run.

Run it with `make demo`. At a terminal the gateway keeps running afterwards until Ctrl-C; without one it is stopped.
Exit status 0 if every step did what it should, else 1 with the step's name.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


class StepFailed(Exception):
    """A command failed, or its output is not what it must be."""


class Demo:
    def __init__(self, state: Path, port: int) -> None:
        self.state = state
        self.url = f"http://127.0.0.1:{port}"
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OPENFAAS_", "HILBERT_"))},
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            "HILBERT_STATE_DIR": str(state),
            "OPENFAAS_CONFIG": str(state / "client"),
        }

    def title(self, text: str) -> None:
        print(f"\n\033[1m{text}\033[0m" if COLOUR else f"\n# {text}", flush=True)

    def run(self, command: str, *, expect: int = 0) -> str:
        """Print the command, run it through the shell, print and return its output. Raises `StepFailed`."""
        print(f"\033[36m$ {command}\033[0m" if COLOUR else f"$ {command}", flush=True)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            env=self.environ,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        sys.stdout.write(done.stdout if done.stdout.endswith("\n") or not done.stdout else done.stdout + "\n")
        sys.stdout.flush()
        if done.returncode != expect:
            raise StepFailed(f"{command}: exit status {done.returncode}, expected {expect}")
        return done.stdout

    def check(self, truth: bool, what: str) -> None:
        if not truth:
            raise StepFailed(what)
        print(f"\033[32m✓ {what}\033[0m" if COLOUR else f"ok: {what}", flush=True)


def main() -> int:
    port = free_port(8080)
    if port != 8080:
        print(f"port 8080 is taken, using {port}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hilbert-demo-") as folder:
        demo = Demo(Path(folder), port)
        try:
            demo.title("Start the platform")
            demo.run(f"hilbert up --detach --only-gateway --port {port} --set gateway.metrics_port=0")
            walk(demo)
            print(f"\nEvery step did what it should, in {time.monotonic() - began:.1f} s.")
            if sys.stdout.isatty():
                linger(demo)
            return 0
        except StepFailed as failure:
            print(f"\nFAILED: {failure}", file=sys.stderr)
            return 1
        except subprocess.TimeoutExpired as failure:
            print(f"\nFAILED: {failure.cmd[-1]}: no end within {failure.timeout:.0f} s", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            # From here on Ctrl-C has done its work; stopping must go through.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            subprocess.run(["hilbert", "down"], env=demo.environ, check=False, stdout=subprocess.DEVNULL, timeout=90)


def walk(demo: Demo) -> None:
    get = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
    fetch = "curl -fsS" if shutil.which("curl") else f"python3 -c '{get}'"
    random = "openssl rand -base64 32" if shutil.which("openssl") else "head -c 32 /dev/urandom | base64"

    demo.title("Namespaces are tenants")
    demo.run("hilbert namespace create staging-fn")
    demo.run("hilbert namespace create dev")
    names = demo.run("hilbert namespaces")
    demo.check(all(name in names for name in ("dev", "openfaas-fn", "staging-fn")), "three namespaces")

    demo.title("The same function in two of them, another in the default one")
    demo.run("hilbert store deploy nodeinfo --namespace dev")
    demo.run("hilbert store deploy nodeinfo --namespace staging-fn")
    demo.run("hilbert store deploy figlet")
    demo.run(f"{fetch} {demo.url}/function/nodeinfo.dev")
    demo.run("echo Hilbert | hilbert invoke figlet")

    demo.title("A stack file, and its namespace overridden")
    for namespace, flags in (("dev", ""), ("staging-fn", " --namespace staging-fn")):
        demo.run(f"hilbert deploy -f examples/stack.yaml{flags}")
        sent = demo.state / f"sent-{namespace}"
        said = demo.run(f"{random} | tee {sent} | hilbert invoke --namespace {namespace} stronghash")
        true = demo.run(f"sha512sum < {sent}")
        demo.check(said.split() == true.split() != [], f"stronghash.{namespace} says what sha512sum says")

    demo.title("A secret of the same name in both; each function reads its own")
    for namespace in ("dev", "staging-fn"):
        demo.run(f"echo 'the secret of {namespace}' | hilbert secret create api-key --namespace {namespace}")
        demo.run(
            f"hilbert deploy --name whisper --namespace {namespace} --image functions/alpine:latest --secret api-key"
            """ --fprocess "sh -c 'cat \\$HILBERT_SECRETS_DIR/api-key'" """.rstrip()
        )
    for namespace in ("dev", "staging-fn"):
        said = demo.run(f"hilbert invoke --namespace {namespace} whisper < /dev/null")
        demo.check(said.strip() == f"the secret of {namespace}", f"whisper.{namespace} reads only its own")

    demo.title("What runs where")
    dev = demo.run("hilbert list --namespace dev")
    staging = demo.run("hilbert list --namespace staging-fn")
    default = demo.run("hilbert list")
    demo.check("stronghash" in dev and "stronghash" in staging and "stronghash" not in default, "each lists its own")

    demo.title("Removing a namespace leaves the others untouched")
    demo.run("hilbert namespace delete staging-fn")
    left = demo.run("hilbert namespaces")
    demo.check("staging-fn" not in left and "dev" in left, "staging-fn is gone, dev is there")
    demo.run(f"{fetch} {demo.url}/function/nodeinfo.staging-fn", expect=22 if fetch.startswith("curl") else 1)
    said = demo.run("hilbert invoke --namespace dev whisper < /dev/null")
    demo.check(said.strip() == "the secret of dev", "dev still answers")


def linger(demo: Demo) -> None:
    print(f"\nThe gateway keeps running at {demo.url} until Ctrl-C. In another terminal:\n")
    print(f"  export HILBERT_STATE_DIR={demo.state}")
    print("  hilbert list -A\n", flush=True)
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        print("\nstopping")


def free_port(wanted: int) -> int:
    """`wanted` if nothing listens there, else one that the kernel picks."""
    for port in (wanted, 0):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(sock.getsockname()[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
