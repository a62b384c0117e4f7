"""A real HTTP server of files, models, fine tunings and batches, for the commands that call one."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Header
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from app import dependencies, error_handlers
from app.adapters.intake import AdapterIntake
from app.adapters.service import AdapterService
from app.api.batches.router import router as batches_router
from app.api.batches.service import BatchesService
from app.api.files.router import router as files_router
from app.api.files.service import FilesService
from app.api.fine_tunings.router import router as fine_tunings_router
from app.api.models.router import router as models_router
from app.api.models.service import ModelsService
from app.auth.authenticator import Caller
from app.auth.repository import ensure_organization
from app.cli import main
from app.db.engine import Database
from app.db.migrate import migrate
from app.ids import new_id
from app.settings import BatchSettings, FileSettings, LimitSettings
from tests.app.adapters.world import BASE, World, running
from tests.app.api.fine_tunings.rows import refuse

T = TypeVar("T")


@dataclass
class Replica:
    """A server in a thread of its own; `run` runs a coroutine there."""

    url: str
    world: World
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


@dataclass
class Customer:
    """One organisation and its command line, on a terminal of 80 columns."""

    replica: Replica
    org_id: str

    def adapters(self, *arguments: str, **environment: str) -> Result:
        return self._invoke("adapters", *arguments, **environment)

    def batches(self, *arguments: str, **environment: str) -> Result:
        return self._invoke("batches", *arguments, **environment)

    def _invoke(self, *arguments: str, **environment: str) -> Result:
        usual = {
            "LORA_API_BASE_URL": self.replica.url,
            "LORA_API_KEY": self.org_id,
            "COLUMNS": "80",
        }
        return CliRunner().invoke(main, list(arguments), env=usual | environment)

    def files(self) -> list[str]:
        """Return the names of the files that were uploaded."""
        headers = {"authorization": f"Bearer {self.org_id}"}
        listed = httpx.get(f"{self.replica.url}/v1/files", headers=headers).json()["data"]
        return [file["filename"] for file in listed]

    def refused(self, name: str) -> str:
        """Have an adapter in the bucket that was refused; return its id."""
        return self.replica.run(refuse(self.replica.world, self.org_id, name))


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    room, started = tmp_path_factory.mktemp("replica"), threading.Event()
    replicas: list[Replica] = []
    servers: list[uvicorn.Server] = []

    def begun(replica: Replica, server: uvicorn.Server) -> None:
        replicas.append(replica)
        servers.append(server)
        started.set()

    thread = threading.Thread(target=lambda: asyncio.run(_serve(room, begun)))
    thread.start()
    try:
        assert started.wait(30), "the server did not start"
        # It logs to the standard output of the process, which is the commands' here.
        with capture_logs():
            yield replicas[0]
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(30)


@pytest.fixture
def customer(replica: Replica) -> Customer:
    async def organization() -> str:
        async with replica.world.database.sessions.begin() as session:
            return await ensure_organization(session, new_id("org"), now=0)

    return Customer(replica, replica.run(organization()))


async def _serve(room: Path, begun: Callable[[Replica, uvicorn.Server], None]) -> None:
    database = Database(f"sqlite+aiosqlite:///{room / 'test.sqlite3'}")
    await migrate(database)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with running(database, room) as world:
            server = uvicorn.Server(uvicorn.Config(_app(world), log_config=None, lifespan="off"))
            listener.listen()
            begun(Replica(url, world, asyncio.get_running_loop()), server)
            await server.serve(sockets=[listener])
    await database.close()


def _app(world: World) -> ASGIApp:
    async def named(authorization: Annotated[str, Header()]) -> Caller:
        return Caller(org_id=authorization.removeprefix("Bearer "), key_id="key_1")

    api = FastAPI(openapi_url=None, redirect_slashes=False)
    error_handlers.register(api)
    for router in (batches_router, files_router, fine_tunings_router, models_router):
        api.include_router(router, prefix="/v1")
    api.dependency_overrides[dependencies.caller] = named
    work_dir, sessions = world.room / "work", world.database.sessions
    files = FilesService(sessions, world.store, LimitSettings(), FileSettings())
    intake = AdapterIntake(
        world.store, work_dir=work_dir, max_bytes=1 << 24, foreign_bases=lambda _: set()
    )
    adapters = AdapterService(
        sessions,
        intake,
        world.publisher,
        world.withdrawals,
        world.pins,
        {BASE: world.engine},
        files.adapter_key,
    )
    state = {
        "adapters": adapters,
        "batches": BatchesService(
            sessions, BatchSettings(), allows=lambda _: True, quota_bytes=1 << 30
        ),
        "files": files,
        "models": ModelsService({BASE: world.engine}, {}, adapters, started_at=1),
        "body_limit_bytes": 1 << 16,
    }

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = dict(state)
        await api(scope, receive, send)

    return with_state
