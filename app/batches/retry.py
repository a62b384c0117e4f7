"""Asks a line of its endpoint until there is an answer that will not change.

Final are successes, refusals of the request itself, and errors that say so. What says that there is
no room now, or that a part is down, is asked again until the batch ends.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import structlog

from app.auth.authenticator import Caller
from app.batches.lines import read_line
from app.batches.observer import BatchObserver
from app.batches.pauses import Pauses
from app.batches.results import Asked, Result, answered
from app.batches.types import Endpoints, Line
from app.engine.base import EngineDead
from app.errors import NO_RETRY, ApiError
from app.failures import said
from app.ids import new_id
from app.inference.context import RequestContext
from app.inference.spare import Displaced
from app.json_document import MAX_BYTES_IN_LOOP
from app.usage.tally import Tally
from app.usage.types import Sums

log = structlog.get_logger()

INTERNAL_ERROR = 500
TRIES = 3
"""How often a line is asked that gets internal errors."""
NO_ROOM_NOW = (429, 498)
Turn = Callable[[], AbstractAsyncContextManager[None]]


class EngineDied(Exception):
    """The engine's process ended while the line was in it; the line may be what killed it."""


class Final(NamedTuple):
    """A line's result, and what the try that led to it has used."""

    result: Result
    used: Sums


class Answers:
    """Gets the final answers of lines."""

    def __init__(self, endpoints: Endpoints, observer: BatchObserver, pauses: Pauses) -> None:
        self._endpoints = endpoints
        self._observer = observer
        self._pauses = pauses

    async def final(self, batch_id: str, caller: Caller, stored: bytes, turn: Turn) -> Final:
        """Ask a line of the ordered input; each try has a turn, and the pauses between have none.

        A line is one request however often it is asked, so that it keeps its age among others.
        **Raises:** EngineDied; ValueError where it is no such line.
        """
        request_id, failures, pauses = new_id("req"), 0, self._pauses.each()
        while True:
            tally = Tally()
            context = RequestContext(caller, request_id, is_batch=True, ledger=tally)
            async with turn():
                line = await _read(stored)
                answer = await self._ask(context, line)
            asked = Asked(batch_id, line.number, line.custom_id)
            if isinstance(answer, bytes):
                result = self._told(line, answered(asked, 200, request_id, answer))
                return Final(result, tally.sums)
            failures += answer.status == INTERNAL_ERROR
            if _is_final(answer) or failures == TRIES:
                told = answered(asked, answer.status, request_id, answer.body())
                return Final(self._told(line, told), tally.sums)
            self._observer.batch_line_retried(line.url)
            if not isinstance(answer, Displaced):
                await asyncio.sleep(next(pauses))

    async def _ask(self, context: RequestContext, line: Line) -> bytes | ApiError:
        try:
            return await self._endpoints[line.url](context, line.body, length=line.length)
        except Exception as error:
            # Whatever a line brings about is the line's own; the others are to go on.
            answer = said(error)
        if isinstance(answer.__cause__, EngineDead):
            raise EngineDied from answer.__cause__
        if answer.status == INTERNAL_ERROR:
            cause = answer.__cause__ or answer
            log.error("batch line failed", request_id=context.id, url=line.url, exc_info=cause)
        return answer

    def _told(self, line: Line, result: Result) -> Result:
        self._observer.batch_line_ended(line.url, is_ok=result.is_ok)
        return result


async def _read(stored: bytes) -> Line:
    if len(stored) > MAX_BYTES_IN_LOOP:
        return await asyncio.to_thread(read_line, stored)
    return read_line(stored)


def _is_final(answer: ApiError) -> bool:
    if answer.headers.get("x-should-retry") == NO_RETRY["x-should-retry"]:
        return True
    return answer.status < INTERNAL_ERROR and answer.status not in NO_ROOM_NOW
