#!/bin/sh
# Unpacks Debian's package of Prometheus, with promtool, into a directory: nothing is installed, and
# no service started. Does nothing where promtool and prometheus are on the PATH.
set -eu

target=$1
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
  exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "There is no apt-get here: put prometheus and promtool, 2.42 or later, on the PATH." >&2
  exit 1
fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
chmod 755 "$room"
fetch() {
  (cd "$room" && apt-get download -qq -o APT::Sandbox::User=root prometheus) 2>"$room/log"
}
if ! fetch; then
  # A new machine has no lists of packages yet; only root may write them.
  apt-get update -qq || true
  if ! fetch; then
    cat "$room/log" >&2
    echo "Debian's package prometheus could not be fetched; on the PATH it would do as well." >&2
    exit 1
  fi
fi
rm -rf "$target"
mkdir -p "$target"
dpkg-deb -x "$room"/prometheus_*.deb "$target"
