"""Checks every answer that any test gets over httpx against Groq's schemas.

A pytest plugin: it looks at what the clients of both httpx packages receive, streams included, and
fails the test that received what it should not have. The summary line tells how much was checked.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from typing import Any

import httpx
import httpx2
import pytest

from tests.contract.groq_schema import CONTRACT, expected, violations

UNWATCHED = ".invalid"
"""Hosts under this name are for tests of the watching itself."""

Ended = Callable[[bytes], None]


class Watch:
    """What was checked, by schema, and what was wrong."""

    def __init__(self, *, everywhere: bool = False) -> None:
        self._everywhere = everywhere
        self.checked: Counter[str] = Counter()
        self.wrong: list[str] = []

    def take(self, response: Any) -> None:
        """Check a response of httpx now, or when its stream has ended or is closed."""
        if response.request.url.host.endswith(UNWATCHED) and not self._everywhere:
            return
        if response.is_closed:
            self._heard(response, response.content)
        elif isinstance(response.stream, httpx.SyncByteStream | httpx2.SyncByteStream):
            response.stream = _Heard(response.stream, lambda body: self._heard(response, body))
        else:
            response.stream = _AsyncHeard(response.stream, lambda body: self._heard(response, body))

    def _heard(self, response: Any, body: bytes) -> None:
        request, content_type = response.request, response.headers.get("content-type", "")
        self.check(request.method, request.url.path, response.status_code, content_type, body)

    def check(self, method: str, path: str, status: int, content_type: str, body: bytes) -> None:
        """Check one answer; one cut short is left out, but for the events that are whole."""
        for schema, document in expected(method, path, status, content_type, body):
            self.checked[schema] += 1
            for problem in violations(schema, document):
                self.wrong.append(f"{method} {path} {status}: {problem}")

    def raise_if_wrong(self) -> None:
        """Fail if anything was wrong since the last call."""
        wrong, self.wrong = self.wrong, []
        if wrong:
            pytest.fail("Groq's schemas do not hold:\n" + "\n".join(wrong[:20]), pytrace=False)


class _Heard(httpx.SyncByteStream, httpx2.SyncByteStream):
    """A stream that hands what was read of it to `ended`, once."""

    def __init__(self, stream: Any, ended: Ended) -> None:
        self._stream = stream
        self._ended: Ended | None = ended
        self._read = bytearray()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            self._read += piece
            yield piece
        self._end()

    def close(self) -> None:
        self._stream.close()
        self._end()

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(bytes(self._read))


class _AsyncHeard(httpx.AsyncByteStream, httpx2.AsyncByteStream):
    """The same for an asynchronous stream."""

    def __init__(self, stream: Any, ended: Ended) -> None:
        self._stream = stream
        self._ended: Ended | None = ended
        self._read = bytearray()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            self._read += piece
            yield piece
        self._end()

    async def aclose(self) -> None:
        await self._stream.aclose()
        self._end()

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(bytes(self._read))


WATCH = Watch()


def _sync(send: Any) -> Any:
    @wraps(send)
    def watched(*args: Any, **kwargs: Any) -> Any:
        response = send(*args, **kwargs)
        WATCH.take(response)
        return response

    return watched


def _async(send: Any) -> Any:
    @wraps(send)
    async def watched(*args: Any, **kwargs: Any) -> Any:
        response = await send(*args, **kwargs)
        WATCH.take(response)
        return response

    return watched


@pytest.fixture(scope="session", autouse=True)
def _clients_are_watched() -> Iterator[None]:
    if not CONTRACT.exists():
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for package in (httpx, httpx2):
            patch.setattr(package.Client, "send", _sync(package.Client.send))
            patch.setattr(package.AsyncClient, "send", _async(package.AsyncClient.send))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    result = yield
    WATCH.raise_if_wrong()
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CONTRACT.exists():
        counts = ", ".join(f"{name} {count}" for name, count in sorted(WATCH.checked.items()))
        terminalreporter.write_line(f"Groq's schemas held for: {counts or 'nothing'}")
    else:
        terminalreporter.write_line("Groq's schemas were not checked: the contract is not here.")
