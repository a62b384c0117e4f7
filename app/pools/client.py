"""Connections to other pools: no proxy, no cookie, no redirect, and a pool that is gone is noticed.

Each request has a connection of its own: behind a pool's URL a balancer chooses a replica for each
connection, and those that are kept would all go on to the replicas that were there first.
How long an answer takes is for its client to bear, so only its connection is watched: TCP tells
within `SILENT_SECONDS` that nobody is at the other end any more.
"""

import socket
from typing import Any

import httpx

CONNECT_SECONDS = 2.0
WRITE_SECONDS = 60.0
SILENT_SECONDS = 30

TIMEOUTS: dict[str, Any] = {
    "timeout": {
        "connect": CONNECT_SECONDS,
        "read": None,
        "write": WRITE_SECONDS,
        "pool": CONNECT_SECONDS,
    }
}
"""Request extensions of httpx."""


def make_client() -> httpx.AsyncBaseTransport:
    """Make what sends requests, each as it is given; to be closed by the caller."""
    return httpx.AsyncHTTPTransport(
        # Operators add their own authorities with SSL_CERT_FILE.
        verify=httpx.create_ssl_context(),
        trust_env=False,
        retries=1,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        socket_options=_watched(),
    )


def _watched() -> list[tuple[int, int, int]]:
    """Have TCP probe a connection on which nothing comes, and give up what is not confirmed."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    wanted = {
        "TCP_NODELAY": 1,
        "TCP_KEEPIDLE": SILENT_SECONDS // 3,
        "TCP_KEEPINTVL": SILENT_SECONDS // 6,
        "TCP_KEEPCNT": 4,
        "TCP_USER_TIMEOUT": SILENT_SECONDS * 1000,
    }
    for name, value in wanted.items():
        if (option := getattr(socket, name, None)) is not None:  # not every system has each
            options.append((socket.IPPROTO_TCP, option, value))
    return options
