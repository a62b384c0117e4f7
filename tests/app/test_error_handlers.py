"""Each exception that leaves a route, as the client sees it."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Query
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters_registry.errors import ObjectNotFound, StoreUnavailable
from app import error_handlers
from app.auth.errors import InvalidApiKey
from app.engine.base import EngineDead
from app.errors import ApiError, invalid_request

REQUEST = "req_01jh6x76wtemjr74t1fh0faj5t"
SECRET = "postgresql://user:hunter2@db/srv"


class Server:
    """An application whose one route raises what the test says."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.error: Exception = RuntimeError(SECRET)
        self._state = state
        self._api = FastAPI(openapi_url=None)
        error_handlers.register(self._api)
        self._api.get("/fail")(self._fail)
        self._api.get("/list")(self._list)

    async def _fail(self) -> None:
        raise self.error

    async def _list(self, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> int:
        return limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._state is not None:
            scope["state"] = dict(self._state)
        await self._api(scope, receive, send)

    async def request(self, method: str, path: str) -> httpx.Response:
        app: ASGIApp = self
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            return await client.request(method, path)

    async def fail_with(self, error: Exception) -> httpx.Response:
        self.error = error
        return await self.request("GET", "/fail")


@pytest.fixture
def server() -> Server:
    return Server({"request_id": REQUEST})


async def test_an_api_error_is_sent_with_its_headers(server: Server) -> None:
    error = ApiError(429, "slow down", type="tokens", code="c", headers={"retry-after": "2"})
    response = await server.fail_with(error)
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"error": {"message": "slow down", "type": "tokens", "code": "c"}}


async def test_text_that_is_not_unicode_can_be_repeated(server: Server) -> None:
    response = await server.fail_with(invalid_request("\ud800"))
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EngineDead(SECRET), 503),
        (StoreUnavailable(SECRET), 503),
        (ObjectNotFound(SECRET), 404),
        (OperationalError(SECRET, None, RuntimeError(SECRET)), 503),
        (ConnectionRefusedError(SECRET), 503),
        (TimeoutError(SECRET), 500),
        (RuntimeError(SECRET), 500),
        (InvalidApiKey(), 401),
        (HTTPException(418, "teapot"), 418),
    ],
)
async def test_every_error_has_an_envelope_and_no_secret(
    server: Server, error: Exception, status: int
) -> None:
    response = await server.fail_with(error)
    assert response.status_code == status
    assert set(response.json()) == {"error"}
    assert {"message", "type"} <= set(response.json()["error"])
    assert "hunter2" not in response.text


async def test_a_wrong_key_is_groqs_401(server: Server) -> None:
    error = (await server.fail_with(InvalidApiKey())).json()["error"]
    assert (error["message"], error["code"]) == ("Invalid API Key", "invalid_api_key")


async def test_an_unexpected_error_says_nothing_but_its_request_id(server: Server) -> None:
    response = await server.request("GET", "/fail")
    assert response.headers["x-request-id"] == REQUEST
    assert response.json() == {
        "error": {"message": "Internal Server Error", "type": "internal_server_error"}
    }


async def test_an_unexpected_error_outside_the_middleware_still_gets_an_id() -> None:
    response = await Server().request("GET", "/fail")
    assert response.headers["x-request-id"].startswith("req_")


async def test_an_unknown_path_is_groqs_404(server: Server) -> None:
    response = await server.request("PUT", "/nope")
    assert response.status_code == 404
    assert response.json()["error"] == {
        "message": "Unknown request URL: PUT /nope. Please check the URL for typos.",
        "type": "invalid_request_error",
        "code": "unknown_url",
    }


@pytest.mark.parametrize("path", ["/%0d%0aX: 1", "/<script>", "/%ff%00", "/é‮", "/" + "a" * 9_000])
async def test_an_unknown_path_is_repeated_escaped_and_bounded(server: Server, path: str) -> None:
    message = (await server.request("GET", path)).json()["error"]["message"]
    assert len(message) < 400
    assert message.replace("…", "").isascii()
    assert not set(message) & set("<>\r\n\0")


async def test_a_wrong_method_names_the_allowed_ones(server: Server) -> None:
    response = await server.request("DELETE", "/fail")
    assert (response.status_code, response.headers["allow"]) == (405, "GET")
    assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "'limit' : number must be at least 1"),
        ("limit=101", "'limit' : number must be at most 100"),
        ("limit=x", "'limit' : value must be an integer"),
    ],
)
async def test_a_wrong_query_parameter_is_named(server: Server, query: str, said: str) -> None:
    response = await server.request("GET", f"/list?{query}")
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["message"], error["param"]) == (said, "limit")


async def test_a_client_that_left_is_recorded_as_499(server: Server) -> None:
    assert (await server.fail_with(ClientDisconnect())).status_code == 499
