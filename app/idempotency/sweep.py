"""Removes keys whose time is over."""

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.idempotency import repository

KEEP_SECONDS = 86_400
BATCH = 1000
"""Rows of one transaction, so that none holds up the others for long."""


async def forget_old_keys(
    sessions: async_sessionmaker[AsyncSession], *, keep_seconds: int = KEEP_SECONDS
) -> None:
    """Remove what was first seen longer ago and is not running; any number may do so at once."""
    removed = BATCH
    while removed == BATCH:
        async with sessions.begin() as session:
            removed = await repository.forget(session, keep_seconds=keep_seconds, at_most=BATCH)
