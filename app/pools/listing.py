"""Asks every other pool for its list of models, as the caller may see it."""

import asyncio
from collections.abc import Mapping

import httpx
import structlog

from app.pools.client import TIMEOUTS
from app.pools.directory import Pool, PoolDirectory
from app.pools.headers import FORWARDED

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 2.0
"""How long a pool has; a list without it is better than none."""
MOST_BYTES = 16 << 20


class PoolListing:
    """Asks all pools of a directory at the same time."""

    def __init__(self, client: httpx.AsyncBaseTransport, directory: PoolDirectory) -> None:
        self._client = client
        self._pools = directory.pools

    async def ask(self, authorization: str) -> Mapping[Pool, bytes | None]:
        """Return what each pool answers to `GET /v1/models`; None where it does not in time."""
        answers = await asyncio.gather(*(self._answer(pool, authorization) for pool in self._pools))
        return dict(zip(self._pools, answers, strict=True))

    async def _answer(self, pool: Pool, authorization: str) -> bytes | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._asked(pool, authorization)
        except (httpx.HTTPError, TimeoutError) as error:
            log.warning("pool does not list its models", pool=pool.name, error=type(error).__name__)
            return None

    async def _asked(self, pool: Pool, authorization: str) -> bytes | None:
        headers = {
            "authorization": authorization,
            "accept-encoding": "identity",
            "connection": "close",
            FORWARDED.decode(): "1",
        }
        request = httpx.Request(
            "GET", f"{pool.url}/v1/models", headers=headers, extensions=TIMEOUTS
        )
        answer = await self._client.handle_async_request(request)
        try:
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > MOST_BYTES:
                    return None
        finally:
            await answer.aclose()
        return bytes(body) if answer.status_code == 200 else None
