"""The header as routes receive it and as the API documents it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app import error_handlers
from app.idempotency_header import IdempotencyKeyDep

KEY = b"idempotency-key"


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    error_handlers.register(app)

    @app.post("/")
    async def create(key: IdempotencyKeyDep) -> str | None:
        return key

    return app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


@pytest.mark.parametrize("key", ["x", "x" * 255, '"8e03978e-40d5"', "a b"])
async def test_the_header_is_the_key(http: httpx.AsyncClient, key: str) -> None:
    assert (await http.post("/", headers={"Idempotency-Key": key})).json() == key


async def test_no_header_is_no_key(http: httpx.AsyncClient) -> None:
    assert (await http.post("/")).json() is None


@pytest.mark.parametrize("values", [[b""], [b"x" * 256], ["é".encode()], [b"a\tb"], [b"a", b"a"]])
async def test_anything_else_is_a_400_that_names_it(
    http: httpx.AsyncClient, values: list[bytes]
) -> None:
    answer = await http.post("/", headers=[(KEY, value) for value in values])
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("Idempotency-Key", "idempotency_key_invalid")


def test_the_api_documents_its_limits(app: FastAPI) -> None:
    (parameter,) = app.openapi()["paths"]["/"]["post"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == (
        "Idempotency-Key",
        "header",
        False,
    )
    assert parameter["schema"]["maxLength"] == 255
