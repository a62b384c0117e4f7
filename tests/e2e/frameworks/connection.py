"""Where the scripts find the server, how they report, and a lock on every way but loopback.

The scripts run in an environment of their own, so they import nothing of this project but this.
"""

import json
import os
import sys
from typing import Any

URL = os.environ["LORA_API_URL"]
OPENAI_URL = f"{URL}/openai/v1"
KEY = os.environ["LORA_API_KEY"]
MODEL = os.environ["LORA_API_MODEL"]


def _refuse_remote(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    address = arguments[1]
    if isinstance(address, tuple) and address[0] not in {"127.0.0.1", "::1"}:
        raise PermissionError(f"a framework tried to reach {address[0]}")


def report(**seen: Any) -> None:
    """Print what a script saw, as the one line of JSON that its test reads."""
    print(json.dumps(seen))


sys.addaudithook(_refuse_remote)
