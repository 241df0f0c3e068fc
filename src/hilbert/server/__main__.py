"""`python -m hilbert.server [--set KEY=VALUE ...] [--config FILE]`: run the platform in the foreground.

`--take-over FD` is for its own use: a rolling restart goes on with the version that is installed now.

Writes nothing to standard output. Exit status: 0 stopped, 2 wrong usage or settings, 3 could not start.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hilbert.core import settings as core_settings
from hilbert.core.environment import inherited_environment
from hilbert.core.errors import HilbertError, InvalidSettings
from hilbert.kit import log


def main(argv: list[str]) -> int:
    if argv[:1] == ["--take-over"]:
        return _take_over(int(argv[1]))
    flags: dict[str, object] = {}
    file: Path | None = None
    arguments = iter(argv)
    try:
        for argument in arguments:
            if argument == "--set":
                key, equals, value = next(arguments, "").partition("=")
                if not equals:
                    raise InvalidSettings("--set needs KEY=VALUE, e.g. --set gateway.port=8081")
                flags[key] = value
            elif argument == "--config":
                file = Path(next(arguments, ""))
            else:
                raise InvalidSettings(
                    f"unknown argument {argument}", hint="the options are --set KEY=VALUE and --config FILE"
                )
        loaded = core_settings.load(file=file, flags=flags)
    except HilbertError as exc:
        return _refuse(exc, status=2)
    log.configure(level=loaded.settings.log.level, form=loaded.settings.log.form)

    from hilbert.server.exits import START_FAILED
    from hilbert.server.supervisor import Supervisor

    try:
        supervisor = Supervisor(loaded.settings, environ=inherited_environment())
    except HilbertError as exc:
        return _refuse(exc, status=START_FAILED)
    return supervisor.run()


def _take_over(descriptor: int) -> int:
    """Go on where the version of before has stopped, in the same process."""
    from hilbert.server import handover
    from hilbert.server.supervisor import Supervisor

    taken = handover.read(descriptor)
    log.configure(level=taken.settings.log.level, form=taken.settings.log.form)
    return Supervisor(taken.settings, environ=inherited_environment(), taken=taken).run()


def _refuse(error: HilbertError, *, status: int) -> int:
    sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
