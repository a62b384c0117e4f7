"""Removes usage that has been kept long enough."""

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.usage import repository

STEP = 1000
"""Rows of one transaction, so that none holds up the others for long."""
FLUSH_KEEP_SECONDS = 30 * 86_400
"""A flush is tried again within seconds, or as soon as the database is back."""


async def forget_old_usage(sessions: async_sessionmaker[AsyncSession], *, keep_days: int) -> None:
    """Remove what was used longer ago, by the database's clock; any number may do so at once."""
    removed = STEP
    while removed == STEP:
        async with sessions.begin() as session:
            before = await repository.day_before(session, keep_days)
            removed = await repository.forget(session, before=before, at_most=STEP)
    async with sessions.begin() as session:
        await repository.forget_flushes(session, keep_seconds=FLUSH_KEEP_SECONDS)
