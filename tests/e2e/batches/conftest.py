"""One server that answers the lines of all workers, and databases for scenes."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.e2e.batches import workers
from tests.e2e.batches.scene import Scene, open_scene
from tests.e2e.batches.worker_process import Order
from tests.fixtures.databases import Dialect, Postgres
from tests.fixtures.server import Server, running_server, tiny_model

OpenScene = Callable[[], AbstractAsyncContextManager[Scene]]


@pytest.fixture(scope="session", autouse=True)
def forks() -> None:
    """Have worker processes start in no time."""
    workers.prepare()


@pytest.fixture(scope="package")
def answering(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path
) -> Iterator[Server]:
    """A server whose engine outlives the workers, and which has no worker of its own."""
    room = tmp_path_factory.mktemp("answering")
    model = tiny_model(tiny_llama_directory)
    engine = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 64}
    with running_server(
        [{**model, "vllm": engine}], room, LORA_API_BATCHES__ENABLED="false"
    ) as server:
        yield server


@pytest.fixture(scope="package")
def order(answering: Server) -> Order:
    """What every worker needs to know of the server."""
    nowhere = Path()
    return Order("", nowhere, nowhere, answering.url, answering.key("batches"))


@pytest.fixture
def new_scene(
    dialect: Dialect,
    order: Order,
    postgres: Postgres,
    migrated_postgres: str,
    migrated_sqlite: Path,
    tmp_path: Path,
) -> OpenScene:
    """Opens scenes on databases of their own, once on SQLite and once on PostgreSQL."""
    numbers = count()

    @asynccontextmanager
    async def open_one() -> AsyncIterator[Scene]:
        root = tmp_path / f"scene-{next(numbers)}"
        root.mkdir()
        if dialect == "sqlite":
            path = shutil.copy(migrated_sqlite, root / "database.sqlite3")
            async with open_scene(f"sqlite+aiosqlite:///{path}", root, order) as scene:
                yield scene
            return
        async with (
            postgres.database(migrated_postgres) as url,
            open_scene(url, root, order) as scene,
        ):
            yield scene

    return open_one


@pytest.fixture
async def scene(new_scene: OpenScene) -> AsyncIterator[Scene]:
    """A scene on either database."""
    async with new_scene() as scene:
        yield scene
