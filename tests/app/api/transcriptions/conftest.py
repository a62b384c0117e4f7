"""The transcriptions resource in an application of its own, on a scripted engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from app.api.transcriptions import router as transcriptions
from tests.app.api.application import application
from tests.app.api.transcriptions.stubs import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    assert rig.left() == [], "nothing is left behind, however a request ends"


@pytest.fixture
def app(rig: Rig) -> ASGIApp:
    return application(transcriptions.router, transcriptions=rig.service)
