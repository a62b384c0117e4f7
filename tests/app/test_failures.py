"""What exceptions mean to whoever asked, wherever they are caught."""

import pytest
from sqlalchemy.exc import InterfaceError, OperationalError

from adapters_registry.errors import ObjectNotFound, StoreUnavailable
from app.auth.errors import InvalidApiKey
from app.db.errors import DatabaseUnavailable
from app.engine.base import EngineDead, EngineOverloaded
from app.errors import invalid_request
from app.failures import EXPECTED, said

SECRET = "postgresql://user:hunter2@db/srv"


@pytest.mark.parametrize(
    ("error", "status", "is_expected"),
    [
        (EngineDead(SECRET), 503, True),
        (EngineOverloaded(SECRET), 503, True),
        (StoreUnavailable(SECRET), 503, True),
        (ObjectNotFound(SECRET), 404, True),
        (DatabaseUnavailable(SECRET), 503, True),
        (OperationalError(SECRET, None, RuntimeError(SECRET)), 503, True),
        (InterfaceError(SECRET, None, RuntimeError(SECRET)), 503, True),
        (ConnectionResetError(SECRET), 503, True),
        (InvalidApiKey(), 401, True),
        (TimeoutError(SECRET), 500, False),
        (ZeroDivisionError(SECRET), 500, False),
    ],
)
def test_an_exception_is_said_without_its_text(
    error: Exception, status: int, is_expected: bool
) -> None:
    answer = said(error)
    assert answer.status == status
    assert b"hunter2" not in answer.body()
    assert answer.__cause__ is error
    assert isinstance(error, EXPECTED) is is_expected


def test_an_answer_stays_what_it_is() -> None:
    error = invalid_request("no", param="x")
    assert said(error) is error
    assert error.__cause__ is None
    assert isinstance(error, EXPECTED)
