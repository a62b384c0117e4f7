"""`lora-api serve`: the server process."""

import typer
import uvicorn

from app.catalog import CatalogError, load_catalog
from app.cli.environment import read_settings
from app.cli.http_protocol import BoundedHttpProtocol
from app.drain import Drain
from app.main import create_app
from app.observability.logs import configure_logs

CANCEL_AFTER_DRAIN_SECONDS = 5.0


class DrainingServer(uvicorn.Server):
    """A uvicorn server that tells the application when its last requests have to end."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: object = None) -> None:
        self._drain.begin()
        await super().shutdown(sockets)  # type: ignore[arg-type]


def serve() -> None:
    """Serve the catalog's models until SIGTERM or SIGINT."""
    settings = read_settings()
    try:
        catalog = load_catalog(settings.catalog)
    except CatalogError as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(2) from error
    configure_logs(settings.log_format, settings.log_level)
    drain = Drain(settings.server.drain_seconds)
    config = uvicorn.Config(
        create_app(settings, catalog, drain),
        host=settings.server.host,
        port=settings.server.port,
        http=BoundedHttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.server.drain_seconds + CANCEL_AFTER_DRAIN_SECONDS),
    )
    server = DrainingServer(config, drain)
    server.run()
    if not server.started:
        raise typer.Exit(3)
