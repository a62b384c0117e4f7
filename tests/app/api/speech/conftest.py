"""The speech resource in an application of its own, on a scripted engine."""

import pytest
from starlette.types import ASGIApp

from app.api.speech import router as speech
from tests.app.api.application import application
from tests.app.api.speech.stubs import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def app(rig: Rig) -> ASGIApp:
    return application(speech.router, speech=rig.service)
