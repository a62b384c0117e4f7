"""boto3's failures as this library's errors, told apart by error code and never by text.

What is neither a missing object nor a wrong checksum becomes StoreUnavailable.
"""

from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from adapters_registry.errors import ObjectCorrupt, ObjectNotFound, StoreUnavailable

_NO_OBJECT = frozenset({"404", "NoSuchKey", "NotFound"})  # a HEAD has no body: its code is "404"
_FAILURES = (
    Boto3Error,
    BotoCoreError,
    CancelledError,  # the transfer was too slow, or the store was closed during it
    ClientError,
    HTTPError,
    OSError,
    ResponseParserError,
)


@contextmanager
def store_errors(key: str | None = None) -> Iterator[None]:
    """Translate boto3's failures; only a call that names an object by `key` can miss it."""
    try:
        yield
    except _FAILURES as error:
        code = error_code(error)
        if key is not None and code in _NO_OBJECT:
            raise ObjectNotFound(key) from error
        if key is not None and isinstance(error, FlexibleChecksumError):
            raise ObjectCorrupt(key) from error
        raise StoreUnavailable("the object store did not answer as it should") from error


def error_code(error: Exception) -> str | None:
    """Return the code that the store gave, if it answered."""
    return error.response["Error"].get("Code") if isinstance(error, ClientError) else None
