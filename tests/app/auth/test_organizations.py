"""Organisations and the plans that operators give them."""

import pytest

from app.auth.errors import InvalidPlanName, OrganizationNotFound
from app.auth.organizations import OrganizationService
from app.auth.service import KeyService
from app.db.engine import Database


@pytest.fixture
async def organizations(database: Database) -> OrganizationService:
    keys = KeyService(database.sessions, b"p" * 32, clock=lambda: 7.0)
    for name in ("globex", "acme"):
        await keys.create(name)
    return OrganizationService(database.sessions)


async def plans(organizations: OrganizationService) -> dict[str, str | None]:
    return {row.name: row.plan for row in await organizations.list()}


async def test_organisations_are_listed_by_name(organizations: OrganizationService) -> None:
    listed = await organizations.list()
    assert [row.name for row in listed] == ["acme", "globex"]
    assert {row.created_at for row in listed} == {7}
    assert all(row.id.startswith("org_") for row in listed)


async def test_a_new_organisation_follows_the_default_plan(
    organizations: OrganizationService,
) -> None:
    assert await plans(organizations) == {"acme": None, "globex": None}


async def test_a_plan_is_given_to_one_organisation_only(organizations: OrganizationService) -> None:
    await organizations.set_plan("acme", "developer")
    assert await plans(organizations) == {"acme": "developer", "globex": None}


async def test_a_plan_can_be_taken_away_again(organizations: OrganizationService) -> None:
    await organizations.set_plan("acme", "developer")
    await organizations.set_plan("acme", None)
    assert await plans(organizations) == {"acme": None, "globex": None}


@pytest.mark.parametrize("name", ["initech", "", "acme\0", "a" * 1000])
async def test_an_unknown_organisation_gets_no_plan(
    organizations: OrganizationService, name: str
) -> None:
    with pytest.raises(OrganizationNotFound):
        await organizations.set_plan(name, "developer")


@pytest.mark.parametrize("plan", ["", "Free", "-free", "a" * 64, "a b", "free\n", "a\0"])
async def test_a_plan_whose_name_breaks_the_pattern_is_refused(
    organizations: OrganizationService, plan: str
) -> None:
    with pytest.raises(InvalidPlanName):
        await organizations.set_plan("acme", plan)
    assert await plans(organizations) == {"acme": None, "globex": None}
