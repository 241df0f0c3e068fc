#!/bin/bash
# Every build runs this test; `--skip-tests` builds without it.
set -euo pipefail

handler="$(dirname "$0")/handler.sh"
answer=$(printf 'Ada' | bash "$handler")
if [ "$answer" != "Hello, Ada!" ]; then
  echo "expected 'Hello, Ada!', got '$answer'" >&2
  exit 1
fi
