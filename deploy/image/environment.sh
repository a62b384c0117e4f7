#!/bin/sh
# Makes the Python environment that the service runs in from its lock: environment.sh PREFIX cpu|gpu
# Runs in the root of the sources. PYTHON names the interpreter, CPython 3.11.
set -eu

prefix=$1
variant=$2
"${PYTHON:-python3.11}" -m venv "$prefix"
"$prefix/bin/python" -m deploy.image.install "requirements/$variant.txt"
# Nothing is installed into a running container.
"$prefix/bin/python" -m pip uninstall --yes --quiet pip
rm -f "$prefix/install.log"
