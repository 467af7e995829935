#!/usr/bin/env bash
# Sets everything up, then checks style with ruff and types with mypy.
set -euo pipefail
EXTRAS=test
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# mypy cannot follow an editable install's mapping of folders: it reads a folder of links, laid out as installed.
links="$(mktemp -d)"
trap 'rm -rf "$links"' EXIT
mkdir "$links/ssrl_pipeline"
ln -s "$PWD"/pipeline/* "$PWD/extractors" "$PWD/models" "$PWD/configs" "$links/ssrl_pipeline"
MYPYPATH="$links" .venv/bin/mypy --package ssrl_pipeline
