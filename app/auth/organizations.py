"""What an operator does with organisations: list them, give them plans."""

import re
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.auth import repository
from app.auth.errors import InvalidPlanName, OrganizationNotFound
from app.auth.repository import ListedOrganization
from app.auth.service import ORGANIZATION_NAME

PLAN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class OrganizationService:
    """All organisations; for operators, never for callers of the API."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def list(self) -> Sequence[ListedOrganization]:
        """Return all organisations by name."""
        async with self._sessions() as session:
            return await repository.list_organizations(session)

    async def set_plan(self, name: str, plan: str | None) -> None:
        """Give an organisation a plan, None for whichever is the default.

        Whether any file has a plan of this name is not looked at. **Raises:** OrganizationNotFound,
        InvalidPlanName.
        """
        if plan is not None and not PLAN_NAME.fullmatch(plan):
            raise InvalidPlanName(plan)
        if not ORGANIZATION_NAME.fullmatch(name):
            raise OrganizationNotFound(name)
        async with self._sessions.begin() as session:
            if not await repository.set_plan(session, name, plan):
                raise OrganizationNotFound(name)
