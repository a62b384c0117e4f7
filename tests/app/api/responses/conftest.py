"""The responses resource in an application of its own, on a scripted engine."""

import pytest
from starlette.types import ASGIApp

from app.api.responses import router as responses
from tests.app.api.application import application
from tests.app.api.responses.stubs import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def app(rig: Rig) -> ASGIApp:
    return application(responses.router, responses=rig.service)
