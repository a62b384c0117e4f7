"""Every `ci/*-values.yaml` of the chart, rendered once."""

import pytest

from tests.helm.release import VALUES, Release, sample


@pytest.fixture(scope="session", params=VALUES)
def release(request: pytest.FixtureRequest) -> Release:
    return sample(request.param)
