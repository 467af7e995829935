#!/usr/bin/env bash
# Sets everything up and runs the tests: scripts/test.sh [pytest arguments]
set -euo pipefail
EXTRAS=test
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec .venv/bin/python -m pytest "$@"
