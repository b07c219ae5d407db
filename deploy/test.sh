#!/bin/sh
# Every suite. The browser's needs Debian's chromium: installed when we are root, else left out with a line that says so.
set -eu
cd "$(dirname "$0")/.."
choice=
if ! command -v chromium > /dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        echo "Installing Debian's chromium …"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
            > /dev/null 2>&1 || echo "apt-get could not install chromium." >&2
    fi
    if ! command -v chromium > /dev/null; then
        if [ -n "${CI:-}" ]; then
            echo "CI needs chromium (apt-get install chromium): tests/browser can't run." >&2
            exit 1
        fi
        echo "No chromium, and not root: tests/browser is left out (apt-get install chromium)."
        choice="not browser"
    fi
fi
exec .venv/bin/python -m pytest ${choice:+-m "$choice"} "$@"
