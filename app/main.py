"""The application: reads top to bottom."""

from fastapi import Depends, FastAPI

from app import error_handlers, routes
from app.catalog import Catalog
from app.dependencies import caller
from app.drain import Drain, DrainMiddleware
from app.lifespan import make_lifespan
from app.observability.metrics import Metrics
from app.observability.middleware import ObservabilityMiddleware
from app.settings import Settings


def create_app(settings: Settings, catalog: Catalog, drain: Drain) -> FastAPI:
    """Build the application; nothing is opened before its lifespan starts."""
    metrics = Metrics()
    app = FastAPI(
        title="LoRA Inference API",
        lifespan=make_lifespan(settings, catalog, metrics),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(DrainMiddleware, drain=drain)
    app.add_middleware(ObservabilityMiddleware, metrics=metrics)
    error_handlers.register(app)
    for prefix in routes.PREFIXES:
        for router in routes.API:
            app.include_router(router, prefix=prefix, dependencies=[Depends(caller)])
    for router in routes.OPEN:
        app.include_router(router)
    return app
