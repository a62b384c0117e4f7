#!/bin/sh
# Builds this project with the environment in PREFIX and installs it below DESTINATION, which is to
# be laid over PREFIX: project.sh PREFIX DESTINATION
# Apart, because a release changes these few files and leaves gigabytes of dependencies alone.
# Runs in the root of the sources. PYTHON names an interpreter with pip.
set -eu

prefix=$1
destination=$2
"${PYTHON:-python3.11}" -m pip --python "$prefix/bin/python" install --quiet \
  --no-warn-script-location --no-deps --no-build-isolation --no-index --ignore-installed \
  --prefix "$destination" .
