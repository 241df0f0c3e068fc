"""Take the terminal pictures of the documentation: run each script for real, against a gateway of its own, and write SVG.

`make pictures` writes docs/pictures/NAME.svg. What changes from run to run (the port) is shown as its default.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT: Final = Path(__file__).resolve().parent.parent
WIDTH: Final = 100
# rich's own format, without the web font that it would fetch.
FORMAT: Final = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)

SCRIPTS: Final[dict[str, tuple[str, ...]]] = {
    "tenants": (
        "hilbert namespace create staging-fn",
        "hilbert namespace create dev --annotation com.hilbert.quota.functions=2",
        "hilbert store deploy nodeinfo --namespace staging-fn",
        "hilbert store deploy nodeinfo --namespace dev",
        "hilbert store deploy figlet --namespace dev",
        "echo Hilbert | hilbert invoke figlet --namespace dev",
        "hilbert store deploy cows --namespace dev",
        "hilbert list --all-namespaces",
    ),
    "mistakes": (
        "hilbert deploi --name x",
        "hilbert deploy --image functions/alpine:latest --name hash --fprocess sha512sum --memory-limit 40m",
        "hilbert invoke figlet --namespace nowhere < /dev/null",
    ),
}


def main() -> int:
    folder = ROOT / "docs" / "pictures"
    folder.mkdir(exist_ok=True)
    for name, commands in SCRIPTS.items():
        with tempfile.TemporaryDirectory(prefix="hilbert-pictures-") as home:
            (folder / f"{name}.svg").write_text(picture(name, session(Path(home), commands)), encoding="utf-8")
        print(f"wrote docs/pictures/{name}.svg")
    return 0


def session(home: Path, commands: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each command with what it wrote, on a gateway that is there for this session alone."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "HILBERT_STATE_DIR": str(home / "state"),
        "OPENFAAS_CONFIG": str(home / "client"),
    }

    def run(command: str) -> str:
        done = subprocess.run(  # noqa: S602 - the scripts above, with their pipes
            command,
            shell=True,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout

    started = run("hilbert up --detach --only-gateway --port 0 --set gateway.metrics_port=0")
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+", started)
        if url is None:
            raise SystemExit(f"the gateway did not start: {started}")
        return [(command, run(command).replace(url[0], "http://127.0.0.1:8080")) for command in commands]
    finally:
        run("hilbert down")


def picture(name: str, said: list[tuple[str, str]]) -> str:
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for command, output in said:
        console.print(Text("$ ", style="bold green") + Text(command, style="bold"))
        for line in output.rstrip("\n").expandtabs().splitlines():
            console.print(Text(line.rstrip()))
        console.print()
    text = console.export_svg(title="hilbert", theme=MONOKAI, code_format=FORMAT, unique_id=name)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


if __name__ == "__main__":
    sys.exit(main())
