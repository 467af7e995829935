#!/usr/bin/env bash
# Sets everything up and shows the whole pipeline on rendered videos: scripts/demo.sh [--seed 1] [--out demo]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec .venv/bin/ssrl-pipeline demo "$@"
