"""`lora-api serve`: the server process."""

import socket

import structlog
import typer
import uvicorn

from app.catalog import CatalogError, load_catalog
from app.cli.environment import read_settings
from app.cli.http_protocol import BoundedHttpProtocol
from app.cli.listening import CannotListen, bound
from app.drain import Drain
from app.main import create_app
from app.observability.logs import configure_logs

CANCEL_AFTER_DRAIN_SECONDS = 5.0
logger = structlog.get_logger(__name__)


class DrainingServer(uvicorn.Server):
    """A uvicorn server that tells the application when its last requests have to end."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            host, port, *_ = listener.getsockname()
            logger.info("listening", host=host, port=port)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._drain.is_asked_for

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain.begin()
        await super().shutdown(sockets)


def serve() -> None:
    """Serve the catalog's models until SIGTERM or SIGINT, or until a model is lost for good."""
    settings = read_settings()
    try:
        catalog = load_catalog(settings.catalog)
        listener = bound(settings.server.host, settings.server.port)
    except (CatalogError, CannotListen) as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(2) from error
    configure_logs(settings.log_format, settings.log_level)
    drain = Drain(settings.server.drain_seconds)
    config = uvicorn.Config(
        create_app(settings, catalog, drain),
        http=BoundedHttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.server.drain_seconds + CANCEL_AFTER_DRAIN_SECONDS),
    )
    server = DrainingServer(config, drain)
    server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(3)
    if drain.is_asked_for:
        raise typer.Exit(4)
