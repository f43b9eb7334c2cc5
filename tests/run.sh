#!/bin/sh
# Install what the tests need, then run them all: ruff, mypy, import contracts, pytest.
# As root on Debian or Ubuntu the clients and peers of tests/packages.txt are installed too;
# without them their tests are skipped. Arguments go to pytest: tests/run.sh tests/mail -x
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ -z "${MAILTOOLS_NO_APT-}" ]; then
    missing=""
    for package in python3-venv $(grep -v '^#' tests/packages.txt); do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        echo "Installing:$missing"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        # shellcheck disable=SC2086 # words are wanted
        apt-get install -y -qq --no-install-recommends $missing >/dev/null
    fi
    # Mail servers that exclude Postfix are unpacked, not installed (tests/peers.py runs them).
    MAILTOOLS_PEERS=${MAILTOOLS_PEERS-${VIRTUAL_ENV:-$PWD/.venv}/peers}
    export MAILTOOLS_PEERS
    if [ ! -x "$MAILTOOLS_PEERS/usr/sbin/exim4" ] && mkdir -p "$MAILTOOLS_PEERS/packages"; then
        (cd "$MAILTOOLS_PEERS/packages" &&
            apt-get download -qq exim4-daemon-light exim4-base >/dev/null 2>&1 &&
            for file in *.deb; do dpkg -x "$file" "$MAILTOOLS_PEERS"; done) ||
            echo "Exim cannot be fetched: its tests are skipped" >&2
    fi
fi

venv=${VIRTUAL_ENV:-.venv}
if [ ! -x "$venv/bin/pip" ]; then # a venv that failed half-way has python, but no pip
    command -v python3 >/dev/null ||
        { echo "there is no python3: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 69; }
    python=$(python3 -c 'import sys; print(sys.executable)')
    is_new='import sys; sys.exit(sys.version_info < (3, 11))'
    # As root, one that others may run, too: only then can giving up root be tested.
    if [ "$(id -u)" = 0 ] && ! runuser -u nobody -- "$python" -c "" 2>/dev/null &&
        /usr/bin/python3 -c "$is_new" 2>/dev/null; then
        python=/usr/bin/python3
    fi
    "$python" -c "$is_new" ||
        { echo "mailtools needs Python 3.11 or newer; this is $("$python" --version)" >&2; exit 69; }
    "$python" -m venv "$venv" >&2 ||
        { echo "python3 -m venv failed: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 69; }
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev]'

# dkimpy's own tests, which are in no wheel of it, are run with our verifiers in place of its own.
MAILTOOLS_DKIMPY=${MAILTOOLS_DKIMPY-$(cd "$venv" && pwd)/dkimpy}
export MAILTOOLS_DKIMPY
if [ ! -d "$MAILTOOLS_DKIMPY/dkim/tests" ] && mkdir -p "$MAILTOOLS_DKIMPY"; then
    version=$("$venv/bin/python" -c 'from importlib.metadata import version; print(version("dkimpy"))')
    ("$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps \
        --no-binary dkimpy -d "$MAILTOOLS_DKIMPY" "dkimpy==$version" &&
        tar -xzf "$MAILTOOLS_DKIMPY/dkimpy-$version.tar.gz" -C "$MAILTOOLS_DKIMPY" \
            --strip-components=1) ||
        echo "The source of dkimpy cannot be fetched: its tests are skipped" >&2
fi

run() { echo "== $*"; "$@"; }
run "$venv/bin/ruff" format --check .
run "$venv/bin/ruff" check .
run "$venv/bin/mypy"
run "$venv/bin/lint-imports" --no-cache
run "$venv/bin/python" -m pytest -n auto --dist loadgroup "$@"
