"""Asking a server again: what is repeated, how long is waited, and what is told."""

from collections.abc import Callable

import httpx
import pytest

from app.cli.patience import Patience


class Server:
    """Answers with one outcome after the other; time passes only while it is waited for."""

    def __init__(self, *outcomes: httpx.Response | httpx.TransportError) -> None:
        self.outcomes = list(outcomes)
        self.now = 0.0
        self.waits: list[float] = []
        self.told: list[str | None] = []

    def call(self) -> httpx.Response:
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, httpx.TransportError):
            raise outcome
        return outcome

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def patience(self, *, seconds: float = 100) -> Patience:
        patience = Patience(
            self.told.append, seconds=seconds, clock=lambda: self.now, sleep=self.sleep
        )
        patience.ask(lambda: httpx.Response(200))
        self.told.clear()
        return patience


def answered(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={k.replace("_", "-"): v for k, v in headers.items()})


LOST = httpx.ReadError("lost")


@pytest.mark.parametrize(
    "passing",
    [
        LOST,
        httpx.ReadTimeout("slow"),
        answered(408),
        answered(429),
        answered(409, retry_after="1"),
        answered(500),
        answered(503),
        answered(400, x_should_retry="true"),
    ],
)
def test_what_may_pass_is_asked_again(passing: httpx.Response | httpx.TransportError) -> None:
    server = Server(passing, answered(200))
    assert server.patience().ask(server.call).status_code == 200
    assert len(server.waits) == 1


@pytest.mark.parametrize(
    "final",
    [
        answered(200),
        answered(206),
        answered(400),
        answered(404),
        answered(409),
        answered(503, x_should_retry="false"),
        answered(429, x_should_retry="false"),
    ],
)
def test_what_stays_is_the_answer(final: httpx.Response) -> None:
    server = Server(final, answered(200))
    assert server.patience().ask(server.call) is final
    assert server.waits == []


def test_the_pauses_grow_up_to_a_bound() -> None:
    server = Server(*[LOST] * 9, answered(200))
    server.patience(seconds=1000).ask(server.call)
    assert server.waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize(("header", "wait"), [("7", 7), ("0.25", 0.25), ("0", 0.5), ("soon", 0.5)])
def test_the_server_s_own_wait_is_heeded(header: str, wait: float) -> None:
    server = Server(answered(503, retry_after=header), answered(200))
    server.patience().ask(server.call)
    assert server.waits == [wait]


def test_patience_ends_with_the_last_answer() -> None:
    server = Server(answered(503))
    assert server.patience(seconds=10).ask(server.call).status_code == 503
    assert sum(server.waits) <= 10


def test_patience_ends_with_the_last_error() -> None:
    server = Server(LOST)
    with pytest.raises(httpx.ReadError):
        server.patience(seconds=10).ask(server.call)
    assert 3 < sum(server.waits) <= 10


def test_a_wait_that_is_longer_than_patience_is_not_begun() -> None:
    server = Server(answered(429, retry_after="3600"))
    assert server.patience(seconds=10).ask(server.call).status_code == 429
    assert server.waits == []


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    server = Server(LOST)
    patience = Patience(server.told.append, clock=lambda: server.now, sleep=server.sleep)
    with pytest.raises(httpx.ReadError):
        patience.ask(server.call)
    assert server.waits == []


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (LOST, "the server does not answer, asking again in 1 s"),
        (answered(503, retry_after="20"), "the server answered 503, asking again in 20 s"),
    ],
)
def test_every_wait_is_told_and_its_end_too(
    outcome: httpx.Response | httpx.TransportError, told: str
) -> None:
    server = Server(outcome, answered(200))
    server.patience().ask(server.call)
    assert server.told == [told, None]


def test_a_call_that_is_interrupted_is_not_repeated() -> None:
    server = Server(answered(200))

    def interrupted() -> httpx.Response:
        raise KeyboardInterrupt

    call: Callable[[], httpx.Response] = interrupted
    with pytest.raises(KeyboardInterrupt):
        server.patience().ask(call)
    assert server.waits == []
