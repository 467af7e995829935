#!/usr/bin/env bash
# Makes .gpu/: what scripts/gpu/gpu_check.py needs on a bare x86-64 GPU machine that has PyTorch, and no network.
#
#     scripts/gpu/gpu_payload.sh
#
# Wheels for Python 3.12 (or PYTHON_THERE), the published I3D weights in bfloat16, two rendered videos, and
# features of them computed here. Everything together with the repository must fit into 64 MiB.
set -euo pipefail
EXTRAS=test
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh"
version_there="${PYTHON_THERE:-3.12}"
most=$((64 << 20))

pinned() { # name==version, as installed here
    .venv/bin/python -c 'import sys; from importlib.metadata import version
for name in sys.argv[1:]: print(f"{name}=={version(name)}")' "$@"
}

rm -rf .gpu/wheels
mkdir -p .gpu/wheels
pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet)
platforms=()
for tag in manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64; do platforms+=(--platform "$tag"); done
# PyAV, which reads videos (36 MB), and what PyTorchVideo imports and an image with PyTorch seldom has; the latter is
# pure Python, published as source or for any Python.
readarray -t binary < <(pinned av)
readarray -t pure < <(pinned pytorchvideo fvcore iopath yacs parameterized portalocker termcolor tabulate)
"${pip[@]}" download --no-deps --only-binary=:all: --python-version "$version_there" --implementation cp \
    "${platforms[@]}" --dest .gpu/wheels "${binary[@]}"
"${pip[@]}" wheel --no-deps --wheel-dir .gpu/wheels "${pure[@]}"
for wheel in .gpu/wheels/*.whl; do
    case "$wheel" in
    *-none-any.whl | *x86_64.whl) ;;
    *) echo "error: $wheel would not run there" >&2 && exit 1 ;;
    esac
done
PYTHONPATH=scripts/bench .venv/bin/python scripts/gpu/gpu_payload.py .gpu

repository="$(git ls-files -z --cached --others --exclude-standard | xargs -0 du --bytes --total | tail -n 1 | cut -f 1)"
payload="$(du --bytes --summarize .gpu | cut -f 1)"
(cd .gpu && du --bytes -- * | sort --numeric-sort --reverse)
echo "payload $payload bytes, repository $repository bytes, together $((payload + repository)) of $most"
if ((payload + repository > most)); then
    echo "error: too large to carry" >&2
    exit 1
fi
cat <<'END'
In a copy of the repository with .gpu/, on the GPU machine (each under 9 minutes):

    python3 scripts/gpu/gpu_check.py --part 1 --out part1.jsonl
    python3 scripts/gpu/gpu_check.py --part 2 --out part2.jsonl
END
