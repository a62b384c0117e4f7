"""What a look at other services tells: database, store, counters, model hub, other pools.

Each look ends in a bounded time. Nothing that is told holds a password: what libraries say of a
failure is told by its kind only.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
from botocore.exceptions import ClientError
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from sqlalchemy import select

from adapters_registry.errors import StoreError
from adapters_registry.store import ObjectStore
from app.catalog import Catalog, ModelSpec
from app.db.clock import NOW
from app.db.engine import Database, database_url
from app.db.errors import DatabaseError, SchemaMismatch
from app.db.migrate import verify_schema
from app.doctor.findings import Finding, ok, problem, warning
from app.limits.counters import Addition, CountersUnavailable
from app.limits.shared_counters import SharedCounters
from app.settings import Settings
from app.storage.opening import make_store

MOST_SKEW_SECONDS = 5
COUNTER_SECONDS = 5.0
HUB_SECONDS = 10.0
POOL_SECONDS = 5.0
PROBE = b"lora-api doctor"
PREFIX = "doctor/"


async def of_database(settings: Settings) -> AsyncIterator[Finding]:
    """Connect, compare the schema with this release's, and the clocks."""
    try:
        database = Database(database_url(settings.database, settings.data_dir))
    except DatabaseError as error:
        yield problem("database", str(error))
        return
    try:
        await database.check()
        await verify_schema(database)
        async with database.sessions() as session:
            skew = abs(time.time() - (await session.scalar(select(NOW)) or 0))
    except SchemaMismatch as error:
        yield _of_schema(settings, error)
    except DatabaseError as error:
        hint = "check LORA_API_DATABASE__URL and the network to it"
        yield problem("database", f"{_reason(error)}: {hint}")
    else:
        yield ok("database", "answers, and has this release's schema")
        if skew > MOST_SKEW_SECONDS:
            text = f"its clock is {skew:.0f} s away from this machine's: synchronise both"
            yield warning("database", text)
    finally:
        await database.close()


def _of_schema(settings: Settings, error: SchemaMismatch) -> Finding:
    if settings.database.url is None and error.found is None:
        return ok("database", "embedded: it is made when the server starts first")
    if error.reason in ("is missing", "is older"):
        return problem("database", f"{error}: run `lora-api migrate`")
    return problem("database", f"{error}: run the newer release, or restore a backup")


async def of_store(settings: Settings) -> AsyncIterator[Finding]:
    """Do what the service does in the store, with an object of its own that is removed again."""
    store = make_store(settings)
    key = f"{PREFIX}{uuid4().hex}"
    steps = {
        "write an object": _put,
        "read it": _read,
        "read a part of it": _read_part,
        "list it": _list,
        "write in parts": _write,
        "delete it": _delete,
    }
    try:
        for what, step in steps.items():
            try:
                await step(store, key)
            except (StoreError, OSError, ValueError) as error:
                yield problem("store", f"cannot {what}: {_reason(error)}")
                return
    finally:
        await store.close()
    yield ok("store", "objects can be written, read, listed and deleted")


async def of_counters(settings: Settings) -> AsyncIterator[Finding]:
    """Have the server of rate limits count once."""
    if settings.rate_limits.storage_url is None:
        return
    url = settings.rate_limits.storage_url.get_secret_value()
    counters = SharedCounters(url, timeout_seconds=COUNTER_SECONDS)
    try:
        await counters.add([Addition(f"doctor-{uuid4().hex}", 1, seconds=1)])
    except CountersUnavailable as error:
        hint = "check LORA_API_RATE_LIMITS__STORAGE_URL and the network to it"
        yield problem("rate limits", f"their server does not count ({error}): {hint}")
    else:
        yield ok("rate limits", "their server counts")
    finally:
        await counters.close()


async def of_hub(catalog: Catalog) -> AsyncIterator[Finding]:
    """Ask the hub for each model that comes from there."""
    for model in catalog.models:
        if not Path(model.source).is_absolute():
            yield await asyncio.to_thread(_of_hub_model, model)


def _of_hub_model(model: ModelSpec) -> Finding:
    name = f"{model.id}: {model.source}"
    try:
        HfApi().model_info(model.source, revision=model.revision, timeout=HUB_SECONDS)
    except GatedRepoError:
        return problem("models", f"{name} is gated: accept its licence and set HF_TOKEN")
    except RepositoryNotFoundError:
        return problem("models", f"{name} is not on the hub, or private: set HF_TOKEN")
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        kind = type(error).__name__
        return problem("models", f"{name} cannot be looked up on the hub ({kind})")
    return ok("models", f"{name} is on the hub")


async def of_pools(settings: Settings) -> AsyncIterator[Finding]:
    """Ask each other pool whether it has a replica that listens."""
    async with httpx.AsyncClient(timeout=POOL_SECONDS, trust_env=False) as client:
        for pool in settings.pools:
            yield await _of_pool(client, pool.url)


async def _of_pool(client: httpx.AsyncClient, url: str) -> Finding:
    try:
        answer = await client.get(f"{url}/health/live")
    except httpx.HTTPError as error:
        hint = "check LORA_API_POOLS, its replicas and the network to them"
        return problem("pools", f"{url} does not answer ({type(error).__name__}): {hint}")
    if answer.status_code != httpx.codes.OK:
        return problem("pools", f"{url} is no pool: its health is told as {answer.status_code}")
    return ok("pools", f"{url} answers")


async def _put(store: ObjectStore, key: str) -> None:
    with _probe() as file:
        await store.put(key, file)


async def _read(store: ObjectStore, key: str) -> None:
    await _expect(store, key, PROBE, start=0, length=None)


async def _read_part(store: ObjectStore, key: str) -> None:
    await _expect(store, key, PROBE[1:4], start=1, length=3)


async def _list(store: ObjectStore, key: str) -> None:
    async for found in store.list(PREFIX):
        if found.key == key:
            return
    raise ValueError("it is not among the objects")


async def _write(store: ObjectStore, key: str) -> None:
    async with store.writer(key) as writer:
        await writer.write(PROBE)
        await writer.commit()


async def _delete(store: ObjectStore, key: str) -> None:
    await store.delete(key)


async def _expect(
    store: ObjectStore, key: str, expected: bytes, *, start: int, length: int | None
) -> None:
    # Closed here, so that the connection is free again before the next step.
    async with aclosing(store.read(key, start=start, length=length)) as pieces:  # type: ignore[type-var]
        read = b"".join([piece async for piece in pieces])
    if read != expected:
        raise ValueError("other bytes came back")


@contextmanager
def _probe() -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="doctor-") as file:
        file.write(PROBE)
        file.flush()
        yield Path(file.name)


def _reason(error: Exception) -> str:
    if isinstance(error.__cause__, ClientError):
        return f"{error} ({error.__cause__.response['Error'].get('Code')})"
    cause = "" if error.__cause__ is None else f" ({type(error.__cause__).__name__})"
    return f"{error}{cause}"
