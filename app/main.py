"""The application: reads top to bottom."""

from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.types import Lifespan

from app import error_handlers, openapi, routes
from app.catalog import Catalog
from app.dependencies import caller
from app.drain import Drain, DrainMiddleware
from app.lifespan import make_lifespan
from app.observability.metrics import Metrics
from app.observability.middleware import ObservabilityMiddleware
from app.pools.middleware import ForwardingMiddleware
from app.settings import Settings
from app.unread_bodies import UnreadBodyMiddleware


def create_app(settings: Settings, catalog: Catalog, drain: Drain) -> FastAPI:
    """Build the application; nothing is opened before its lifespan starts."""
    named = settings.metrics
    metrics = Metrics(organizations=named.organizations, adapters=named.adapters)
    app = bare_app(make_lifespan(settings, catalog, metrics, drain))
    openapi.serve(app)
    if settings.pools:
        app.add_middleware(ForwardingMiddleware)
    app.add_middleware(UnreadBodyMiddleware)
    app.add_middleware(DrainMiddleware, drain=drain)
    app.add_middleware(ObservabilityMiddleware, metrics=metrics)
    error_handlers.register(app)
    return app


def bare_app(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Build an application of nothing but the routes, each with one address in the document."""
    app = FastAPI(
        title="LoRA Inference API",
        version=version("lora-inference-api"),
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    # Routes are tried one by one: neither prefix is to wait for all of the other's.
    for router in routes.API:
        for prefix in routes.PREFIXES:
            app.include_router(
                router,
                prefix=prefix,
                dependencies=[Depends(caller)],
                include_in_schema=prefix == routes.prefix_in_document(router),
            )
    for router in routes.OPEN:
        app.include_router(router)
    return app
