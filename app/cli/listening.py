"""The server's socket, taken before models are loaded, so that a taken port is told at once."""

import socket

HINT = "Set LORA_API_SERVER__HOST or __PORT."


class CannotListen(Exception):
    """The address is in use, or not this machine's; the message says which and what to set."""


def bound(host: str, port: int) -> socket.socket:
    """Return a TCP socket bound to the address. It does not listen: connections are refused.

    **Raises:** CannotListen.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    # A port with closing connections of the process before this one is free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise CannotListen(f"Cannot listen on {host} port {port}: {reason}. {HINT}") from error
    return listener
