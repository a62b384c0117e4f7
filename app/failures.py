"""What an exception means to whoever asked, the same over HTTP and in a line of a batch.

Knows which exceptions are to be expected. All others are somebody's mistake: their catcher logs
them, and answers with a 500.
"""

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from adapters_registry.errors import RegistryError
from app.auth.errors import InvalidApiKey
from app.db.errors import DatabaseUnavailable
from app.engine.base import EngineError
from app.errors import ApiError, from_domain, internal_error, invalid_api_key, unavailable

BACKEND_LOST = (
    DatabaseUnavailable,
    OperationalError,
    InterfaceError,
    PoolTimeout,
    ConnectionError,
)
"""What a lost database raises: drivers let some errors through that SQLAlchemy does not wrap."""

EXPECTED = (ApiError, RegistryError, EngineError, InvalidApiKey, *BACKEND_LOST)
"""All that says more than that something went wrong."""


def said(error: Exception) -> ApiError:
    """Say an exception to a client; one that is not expected becomes a 500.

    The answer's cause is the exception, unless that is the answer itself.
    """
    if isinstance(error, ApiError):
        return error
    answer = _answer(error)
    answer.__cause__ = error
    return answer


def _answer(error: Exception) -> ApiError:
    if isinstance(error, RegistryError | EngineError):
        return from_domain(error)
    if isinstance(error, InvalidApiKey):
        return invalid_api_key()
    return unavailable() if isinstance(error, BACKEND_LOST) else internal_error()
