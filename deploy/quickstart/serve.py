"""`make serve`: the demo's models and adapters on port 8000, in the foreground, until Ctrl-C."""

import os
import sys

from deploy.quickstart.models import prepare_all
from deploy.quickstart.packaged import ModelMissing
from deploy.quickstart.paths import MODELS
from deploy.quickstart.server import LORA_API, ServerFailed, create_key, settings

ORGANISATION = "demo"
PORT = 8000


def main() -> None:
    """Print the base URL and a new key, then become the server."""
    try:
        prepare_all(MODELS)
        key = create_key(ORGANISATION)
    except (ModelMissing, ServerFailed) as error:
        sys.exit(f"serve: {error}")
    print(f"Base URL for the Groq SDK:   http://127.0.0.1:{PORT}")
    print(f"Base URL for the OpenAI SDK: http://127.0.0.1:{PORT}/openai/v1")
    print(f"API key (shown this once):   {key}")
    print("Starting; the models answer when /health/ready does, in a minute or two.", flush=True)
    os.execve(LORA_API, [str(LORA_API), "serve"], settings(PORT))


if __name__ == "__main__":
    main()
