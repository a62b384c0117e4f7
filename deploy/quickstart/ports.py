"""Ports of loopback for servers that have to be told theirs before they start."""

import random
import socket

BELOW_EPHEMERAL = range(10_000, 32_000)
"""Linux takes the ports of outgoing connections, and of binds to port 0, from 32768 upwards."""


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody uses, nor gets by chance meanwhile."""
    while True:
        port = random.choice(BELOW_EPHEMERAL)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
