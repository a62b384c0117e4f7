#!/bin/sh
# Installs the Debian packages that the service needs at run time: packages.sh cpu|gpu [--list]
set -eu

# tini passes SIGTERM on and reaps orphans; vLLM's libraries link to libnuma.
# torch.compile and Triton write C++ and compile it when a model is loaded.
packages="tini libnuma1 g++"
case "$1" in
  cpu) packages="$packages libtcmalloc-minimal4" ;;
  gpu) ;;
  *) echo "the variant is cpu or gpu, not '$1'" >&2; exit 2 ;;
esac

if [ "${2:-}" = --list ]; then
  # shellcheck disable=SC2086 # one word a package
  printf '%s\n' $packages
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
# shellcheck disable=SC2086 # one word a package
apt-get install --yes --no-install-recommends $packages
rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/debconf
