#!/bin/sh
# Links the libraries that LD_PRELOAD names on CPU: preload.sh PREFIX [LIBRARY_ROOT]
# One directory for both, whatever the architecture calls its own, and an error if one is missing.
set -eu

prefix=$1
root=${2:-/usr/lib}
tcmalloc=$(find "$root" -name 'libtcmalloc_minimal.so.4' | head -n 1)
openmp=$prefix/lib/libiomp5.so
for library in "$tcmalloc" "$openmp"; do
  if [ ! -e "$library" ]; then
    echo "a library to preload is missing: '$library'" >&2
    exit 1
  fi
done
mkdir -p "$prefix/preload"
ln -sf "$tcmalloc" "$openmp" "$prefix/preload/"
