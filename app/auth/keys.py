"""API keys and prefix-cache salts as texts: how they are made, recognised and hashed.

Both hashes are keyed with the same pepper; a domain word keeps one from ever equalling the other.
"""

import hashlib
import hmac
import re
import secrets

KEY = re.compile(r"gsk_[A-Za-z0-9_-]{52}")
KEY_BYTES = 39


def new_key() -> str:
    """Make a key: `gsk_` and 52 URL-safe characters, 312 random bits."""
    return f"gsk_{secrets.token_urlsafe(KEY_BYTES)}"


def is_key_shaped(text: str) -> bool:
    """Tell whether a text could be a key at all."""
    return KEY.fullmatch(text) is not None


def hash_key(pepper: bytes, key: str) -> str:
    """Return what is stored of a key: 64 hex digits."""
    return _keyed_hash(pepper, b"api-key", key)


def cache_salt(pepper: bytes, org_id: str) -> str:
    """Return the organisation's salt for the engine's prefix cache: 64 hex digits."""
    return _keyed_hash(pepper, b"cache-salt", org_id)


def _keyed_hash(pepper: bytes, domain: bytes, text: str) -> str:
    return hmac.new(pepper, domain + b"\0" + text.encode(), hashlib.sha256).hexdigest()
