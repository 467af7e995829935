#!/usr/bin/env bash
# Sets everything up, then checks style with ruff and types with mypy.
set -euo pipefail
EXTRAS=test
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# mypy cannot follow an editable install's mapping of folders: it reads an installed copy.
copy="$(mktemp -d)"
trap 'rm -rf "$copy" build' EXIT
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target "$copy" .
MYPYPATH="$copy" .venv/bin/mypy --package ssrl_pipeline
