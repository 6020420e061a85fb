#!/bin/sh
# Makes .venv with what the given lock file names, and this project in it. For Debian and its like with Python 3.11 to
# 3.13; what is missing to make an environment is installed where that is possible, and said where it is not.
set -eu
lock=$1

python=
for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
  [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 || continue
  if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    python=$name
    break
  fi
done
[ -n "$python" ] || { echo "Freeway needs Python 3.11, 3.12 or 3.13; set PYTHON to one." >&2; exit 1; }

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  echo "Making .venv with $($python --version) …"
  rm -rf .venv
  if ! "$python" -m venv .venv >/dev/null 2>&1; then
    rm -rf .venv
    # Debian keeps the module that makes environments in a package of its own.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
      apt-get update -qq && apt-get install -y -qq "python$version-venv" >/dev/null
    else
      echo "Python's venv module is missing: sudo apt-get install python$version-venv" >&2
      exit 1
    fi
    "$python" -m venv .venv
  fi
fi

echo "Installing what $lock names …"
quiet=--quiet
[ -t 1 ] && quiet=  # somebody watches: let pip show how far it is
# The lock names all that is needed. Left to look for it, pip takes the newest release of what is wanted with an extra,
# which no lock knows.
.venv/bin/python -m pip install $quiet --disable-pip-version-check --no-deps --require-hashes -r "$lock"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
