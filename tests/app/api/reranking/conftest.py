"""The reranking resource in an application of its own, on a scripted engine."""

import pytest
from starlette.types import ASGIApp

from app.api.reranking import router as reranking
from tests.app.api.application import application
from tests.app.api.reranking.stubs import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def app(rig: Rig) -> ASGIApp:
    return application(reranking.router, reranking=rig.service)
