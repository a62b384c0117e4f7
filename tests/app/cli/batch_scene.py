"""A customer of batches, whose worker is the test and whose network can be spoiled."""

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from tests.app.cli.batch_worker import Worker
from tests.app.cli.conftest import Customer
from tests.fixtures.fault_proxy import FaultProxy, Request, after

CHAT = "/v1/chat/completions"
Move = Callable[[], Awaitable[object]]


class Scene:
    """A customer, the worker of its batches, and the network between the two.

    `moves` are what the worker does, one each time that the customer asks how far the batch is.
    """

    def __init__(self, customer: Customer, proxy: FaultProxy, room: Path) -> None:
        self.customer = customer
        self.proxy = proxy
        self.room = room
        self.worker = Worker(customer.replica.world, customer.org_id)
        self.output = room / "output.jsonl"
        self.errors = room / "errors.jsonl"

    def input(self, *urls: str, name: str = "input.jsonl") -> Path:
        """Write a file of a request for each url."""
        path = self.room / name
        lines = [
            {"custom_id": f"line-{n}", "method": "POST", "url": url, "body": {"model": "m"}}
            for n, url in enumerate(urls or (CHAT, CHAT))
        ]
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return path

    def plan(self, *moves: Move) -> None:
        for move in moves:
            self.proxy.inject(after(move), on=is_look, times=1)

    def batches(self, *arguments: str | Path, **environment: str) -> Result:
        environment = {"LORA_API_BASE_URL": self.proxy.url, **environment}
        return self.customer.batches(*map(str, arguments), **environment)

    def run(self, *arguments: str | Path, **environment: str) -> Result:
        usual = ("run", self.input(), "-o", self.output, "--every", "0.05")
        return self.batches(*usual, *arguments, **environment)

    def made(self) -> list[str]:
        """Return the ids of the batches there are."""
        return self.customer.replica.run(self.worker.batch_ids())

    def make(self, *moves: Move) -> str:
        """Have a batch, and the worker do these things to it; return its id."""
        self.plan(lambda: self.worker.refuses())
        self.run()
        (id, *_) = self.made()
        for move in moves:
            self.customer.replica.run(awaited(move))
        return id

    def asked(self, method: str, path: str) -> list[Request]:
        return [
            request
            for request in self.proxy.requests
            if request.method == method and request.target.startswith(path)
        ]


async def awaited(move: Move) -> None:
    await move()


def is_look(request: Request) -> bool:
    return request.method == "GET" and request.target.startswith("/v1/batches/")


@pytest.fixture
def scene(customer: Customer, tmp_path: Path) -> Iterator[Scene]:
    proxy = FaultProxy(customer.replica.url)
    customer.replica.run(proxy.go_up())
    yield Scene(customer, proxy, tmp_path)
    customer.replica.run(proxy.go_down())
