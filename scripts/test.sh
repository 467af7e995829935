#!/usr/bin/env bash
# Sets everything up and runs the tests: scripts/test.sh [pytest arguments]
#
# WORKERS says how many processes share them; by default one for each core and two more, for many tests wait.
set -euo pipefail
EXTRAS=test
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
workers="${WORKERS:-$(.venv/bin/python -c 'import os; print(min(8, (os.cpu_count() or 1) + 2))')}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # PyTorch's threads of several processes would wait for each other
exec .venv/bin/python -m pytest --numprocesses "$workers" --dist loadfile --no-loadscope-reorder "$@"
