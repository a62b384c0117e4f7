"""What routes depend on runs in the event loop: FastAPI gives a plain function a thread."""

from collections.abc import Iterator

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.main import bare_app


def _with_all_below(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for needed in dependant.dependencies:
        yield from _with_all_below(needed)


def test_no_request_costs_a_thread() -> None:
    routes = [route for route in bare_app().routes if isinstance(route, APIRoute)]
    assert routes
    threaded = {
        needed.call.__name__
        for route in routes
        for needed in _with_all_below(route.dependant)
        if needed.call is not None and not needed.is_coroutine_callable
    }
    assert not threaded
