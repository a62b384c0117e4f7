"""From an Authorization header to a caller."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from app.auth.authenticator import BAD_KEYS, Authenticator, Caller
from app.auth.errors import InvalidApiKey
from app.auth.keys import new_key
from app.auth.organizations import OrganizationService
from app.auth.service import KeyService, MintedKey
from app.db.engine import Database
from tests.stopwatch import cpu_time

PEPPER = b"p" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(database: Database) -> KeyService:
    return KeyService(database.sessions, PEPPER)


@pytest.fixture
def authenticator(database: Database, clock: Clock) -> Authenticator:
    return Authenticator(database.sessions, PEPPER, cache_seconds=10, clock=clock)


@pytest.fixture
async def minted(keys: KeyService) -> MintedKey:
    return await keys.create("acme")


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    seen: list[str] = []

    def record(*arguments: object) -> None:
        if str(arguments[2]).startswith("SELECT"):
            seen.append(str(arguments[2]))

    event.listen(database.engine.sync_engine, "before_cursor_execute", record)
    yield seen
    event.remove(database.engine.sync_engine, "before_cursor_execute", record)


async def refused(authenticator: Authenticator, header: str | None) -> bool:
    try:
        await authenticator.authenticate(header)
    except InvalidApiKey:
        return True
    return False


async def test_a_key_names_its_organisation(
    authenticator: Authenticator, minted: MintedKey
) -> None:
    caller = await authenticator.authenticate(f"Bearer {minted.text}")
    assert caller == Caller(org_id=minted.org_id, key_id=minted.id)


async def test_a_caller_has_its_organisations_plan(
    authenticator: Authenticator, database: Database, minted: MintedKey
) -> None:
    await OrganizationService(database.sessions).set_plan("acme", "developer")
    assert (await authenticator.authenticate(f"Bearer {minted.text}")).plan == "developer"


async def test_the_scheme_may_be_written_in_any_case(
    authenticator: Authenticator, minted: MintedKey
) -> None:
    caller = await authenticator.authenticate(f"bEARER  {minted.text}")
    assert caller.org_id == minted.org_id


async def test_two_organisations_are_told_apart(
    authenticator: Authenticator, keys: KeyService, minted: MintedKey
) -> None:
    other = await keys.create("globex")
    for key in (minted, other, minted, other):
        caller = await authenticator.authenticate(f"Bearer {key.text}")
        assert caller.org_id == key.org_id


async def test_a_checked_key_costs_no_query(
    authenticator: Authenticator, database: Database, minted: MintedKey
) -> None:
    with statements(database) as seen:
        for _ in range(100):
            await authenticator.authenticate(f"Bearer {minted.text}")
    assert len(seen) == 1


async def test_a_wrong_key_that_comes_again_costs_no_query(
    authenticator: Authenticator, database: Database
) -> None:
    header = f"Bearer {new_key()}"
    with statements(database) as seen:
        for _ in range(100):
            assert await refused(authenticator, header)
    assert len(seen) == 1


async def test_a_revoked_key_is_refused_within_the_cache_seconds(
    authenticator: Authenticator, keys: KeyService, minted: MintedKey, clock: Clock
) -> None:
    await authenticator.authenticate(f"Bearer {minted.text}")
    await keys.revoke(minted.id)
    clock.now += 10
    assert await refused(authenticator, f"Bearer {minted.text}")


async def test_without_a_cache_a_revoked_key_is_refused_at_once(
    database: Database, keys: KeyService, minted: MintedKey
) -> None:
    authenticator = Authenticator(database.sessions, PEPPER, cache_seconds=0)
    await authenticator.authenticate(f"Bearer {minted.text}")
    await keys.revoke(minted.id)
    assert await refused(authenticator, f"Bearer {minted.text}")


async def test_a_flood_of_wrong_keys_leaves_the_right_one_cached(
    authenticator: Authenticator, database: Database, minted: MintedKey
) -> None:
    await authenticator.authenticate(f"Bearer {minted.text}")
    for _ in range(BAD_KEYS + 10):
        await refused(authenticator, f"Bearer {new_key()}")
    with statements(database) as seen:
        await authenticator.authenticate(f"Bearer {minted.text}")
    assert seen == []


async def test_a_key_of_another_pepper_is_refused(database: Database, minted: MintedKey) -> None:
    authenticator = Authenticator(database.sessions, b"q" * 32, cache_seconds=10)
    assert await refused(authenticator, f"Bearer {minted.text}")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic gsk_" + "a" * 52,
        "gsk_" + "a" * 52,
        "Bearer sk-" + "a" * 52,
        "Bearer gsk_" + "é" * 52,
        "Bearer gsk_" + "a" * 51 + "\0",
        "Bearer gsk_" + "a" * 52 + "\n",
        "Bearer gsk_" + "a" * 52 + ", Bearer gsk_" + "a" * 52,
    ],
)
async def test_a_malformed_header_is_refused_without_a_query(
    authenticator: Authenticator, database: Database, header: str | None
) -> None:
    with statements(database) as seen:
        assert await refused(authenticator, header)
    assert seen == []


async def test_an_absurdly_long_header_costs_next_to_nothing(
    authenticator: Authenticator,
) -> None:
    header = "Bearer " + "a" * 10_000_000
    with cpu_time() as watch:
        for _ in range(100):
            assert await refused(authenticator, header)
    assert watch.seconds < 0.1


async def test_a_refusal_does_not_repeat_the_key(authenticator: Authenticator) -> None:
    key = new_key()
    with pytest.raises(InvalidApiKey) as caught:
        await authenticator.authenticate(f"Bearer {key}")
    assert key not in repr(caught.value)
