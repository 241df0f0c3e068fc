"""Fail when a source file is longer than the house allows: 500 lines."""

from __future__ import annotations

import sys
from pathlib import Path

LIMIT = 500
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    long = [
        (count, path.relative_to(ROOT))
        for folder in ("src", "tests", "bench", "tools", "examples")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LIMIT
    ]
    for count, path in long:
        print(f"{path}: {count} lines; the limit is {LIMIT}, split it by concept")
    return 1 if long else 0


if __name__ == "__main__":
    sys.exit(main())
