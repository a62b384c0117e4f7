"""The pepper: taken from the settings, or made once and kept in the data directory."""

import os
import secrets
import tempfile
from pathlib import Path

from pydantic import SecretStr

from app.auth.errors import SecretUnusable

FILE = "secret"
MIN_BYTES = 32


def load_secret(secret: SecretStr | None, data_dir: Path) -> bytes:
    """Return the explicit secret, else the kept one, made if there is none yet.

    Of several processes that make one at once, one wins and all return the same. Blocks on local
    disk. **Raises:** SecretUnusable.
    """
    if secret is not None:
        return secret.get_secret_value().encode()
    path = data_dir / FILE
    try:
        if not path.exists():
            _create(path)
        kept = path.read_bytes().strip()
    except OSError as error:
        raise SecretUnusable(f"{path}: {error.strerror}") from error
    if len(kept) < MIN_BYTES:
        raise SecretUnusable(f"{path}: shorter than {MIN_BYTES} bytes; restore it from a backup")
    return kept


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp opens with mode 0600, and a link appears whole or, when another was faster, not at
    # all: nobody ever reads half a secret.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE}-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)
