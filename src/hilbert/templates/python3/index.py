"""Answers one call with function/handler.py: standard input is its body. Edit the handler, not this file."""

import sys

from function.handler import handle


def main() -> None:
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
    answer = handle(sys.stdin.read())
    if answer is not None:
        print(answer)


if __name__ == "__main__":
    main()
