# Makes the environment .venv with the project in it. Sourced by the other scripts; safe to repeat.
#
# PYTHON names the interpreter to use (3.10 or newer), EXTRAS what to install beside the project.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Where this is set, each of the hundreds of processes that tests start compiles all of PyTorch anew.
unset PYTHONDONTWRITEBYTECODE

python="${PYTHON:-python3}"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: $python is not Python 3.10 or newer; install one, or name it: PYTHON=python3.12 $0" >&2
    exit 1
fi

if [ ! -x .venv/bin/python ]; then
    "$python" -m venv .venv || { rm -rf .venv; echo "error: $python cannot make environments (Debian: install python3-venv)" >&2; exit 1; }
fi

# The same files and extras as last time: nothing to install.
stamp=".venv/installed-${EXTRAS:-plain}"
if [ ! -f "$stamp" ] || [ setup.cfg -nt "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    echo "installing the project and what it needs into .venv (PyTorch is large: some minutes the first time)" >&2
    # Of what is installed, a third is ever imported: Python compiles that then.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable ".${EXTRAS:+[$EXTRAS]}"
    touch "$stamp"
fi
