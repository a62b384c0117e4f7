"""Thousands of lines that name hostile URLs: none of them leads the service to itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.db.engine import Database
from app.inference.context import RequestContext
from tests.app.api.transcriptions.stubs import Rig
from tests.app.batch_world import TRANSCRIPTIONS
from tests.app.batch_world import World as Services
from tests.app.batches.farm import Farm
from tests.app.batches.processes import FixedCapacity
from tests.app.fetch.hostile_urls import HOSTILE
from tests.app.fetch.world import PUBLIC, SITE, World, answer, redirect, world
from tests.app.inference.stubs import BASE

LINES = 2_000
GOOD = 50
"""Every so many lines one asks for what may be had."""
LED_ASTRAY = 8
"""And every so many one asks the site for what sends the service on to a hostile place."""
NOT_IN_A_HEADER = "\r\n\x00"


def url_of(number: int) -> str:
    if number % GOOD == 0:
        return f"http://{SITE}/a.wav"
    if number % LED_ASTRAY == 0:
        return f"http://{SITE}/{number}"
    return HOSTILE[number % len(HOSTILE)]


def line(number: int) -> dict[str, Any]:
    body = {"model": BASE, "url": url_of(number)}
    return {"custom_id": f"{number:05}", "method": "POST", "url": TRANSCRIPTIONS, "body": body}


def fill(internet: World) -> None:
    """Put on the site what the lines ask it for."""
    places = [url for url in HOSTILE if not set(NOT_IN_A_HEADER) & set(url)]
    for number in range(LED_ASTRAY, LINES, LED_ASTRAY):
        head, tail = redirect("PLACE").split(b"PLACE")
        place = places[number // LED_ASTRAY % len(places)].encode()
        internet.site.answers[f"/{number}"] = head + place + tail
    internet.site.answers["/a.wav"] = answer(b"12", content_type="audio/wav")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_lines_with_hostile_urls_are_refused_and_reach_nothing(
    database: Database, tmp_path: Path
) -> None:
    farm = await Farm.open(database, tmp_path)
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    asked = [line(number) for number in range(LINES)]
    batch_id = await farm.add(asked)
    async with world() as internet:
        fill(internet)
        audio = Rig(uploads, internet.fetcher())
        audio.limits.tiers.add("batch")
        transcribe = Services(uploads, transcriptions=audio.service).endpoints[TRANSCRIPTIONS]

        async def ask(context: RequestContext, body: Mapping[str, Any]) -> bytes:
            return await transcribe(context, body, length=len(str(body)))

        await farm.work_off(batch_id, act=ask, capacity=FixedCapacity(lines=64), chunk_lines=64)
        assert internet.canary.connections == 0
        assert {host for host, _ in internet.network.connected} == {PUBLIC}
    await farm.check(batch_id, asked)
    output, error = await farm.results(batch_id)
    assert len(output) == LINES // GOOD
    assert {result["response"]["status_code"] for result in error} == {400}
    assert {result["response"]["body"]["error"]["param"] for result in error} == {"url"}
    assert list(uploads.iterdir()) == []
