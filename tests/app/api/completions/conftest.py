"""The completions resource in an application of its own, on a scripted engine."""

import pytest
from starlette.types import ASGIApp

from app.api.completions import router as completions
from tests.app.api.application import application
from tests.app.api.completions.stubs import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def app(rig: Rig) -> ASGIApp:
    return application(completions.router, completions=rig.service)
