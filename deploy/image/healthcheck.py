"""Exits with 0 if the server in this container answers `/health/live` with 200, else with 1."""

import http.client
import os
import sys

SECONDS = 4.0


def is_alive(port: int) -> bool:
    """Ask once, for at most `SECONDS`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive(int(os.environ.get("LORA_API_SERVER__PORT", "8000"))) else 1)
