"""`lora-api serve`: the server process."""

import asyncio
import socket
import time

import structlog
import typer
import uvicorn
from starlette.types import ASGIApp

from app.catalog import CatalogError, load_catalog
from app.cli.environment import read_settings
from app.cli.http_protocol import BoundedHttpProtocol
from app.cli.listening import CannotListen, bound
from app.drain import Drain
from app.main import create_app
from app.observability.logs import configure_logs
from app.pools.directory import PoolsError, check_pools
from app.settings import ServerSettings

CANCEL_AFTER_DRAIN_SECONDS = 5.0
LOOK_SECONDS = 0.1
"""How often a start looks whether it is still wanted: as often as uvicorn does later."""
logger = structlog.get_logger(__name__)


class DrainingServer(uvicorn.Server):
    """A uvicorn server that tells the application when its last requests have to end.

    It takes requests in for `notice_seconds` after it was told to stop, and says it is not ready.
    Told before its start is over, it gives that up.
    """

    def __init__(self, config: uvicorn.Config, drain: Drain, notice_seconds: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._notice_seconds = notice_seconds
        self._stops_at = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        watching = asyncio.create_task(self._watch_start())
        try:
            await super().startup(sockets)
        except SystemExit:
            if not self.should_exit:
                raise
        finally:
            watching.cancel()
        for listener in (sockets or ()) if self.started else ():
            host, port, *_ = listener.getsockname()
            logger.info("listening", host=host, port=port)

    async def on_tick(self, counter: int) -> bool:
        is_told = await super().on_tick(counter) or self._drain.is_asked_for
        return is_told and self._has_been_noticed()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain.begin()
        await super().shutdown(sockets)

    async def _watch_start(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.should_exit:
                self._drain.cut_start()

    def _has_been_noticed(self) -> bool:
        """Tell whether balancers have had the time; a second signal gives them no more."""
        if not self._drain.is_announced:
            self._drain.announce()
            # Soon part of every answer: a kept connection ends here, not under its next request.
            self.config.encoded_headers.append((b"connection", b"close"))
            self._stops_at = time.monotonic() + self._notice_seconds
        return self.force_exit or time.monotonic() >= self._stops_at


def make_server(app: ASGIApp, settings: ServerSettings, drain: Drain) -> DrainingServer:
    """Make the server of an application, which listens nowhere yet."""
    config = uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=int(settings.drain_seconds + CANCEL_AFTER_DRAIN_SECONDS),
    )
    return DrainingServer(config, drain, settings.notice_seconds)


def serve() -> None:
    """Serve the catalog's models until SIGTERM or SIGINT, or until a model is lost for good."""
    settings = read_settings()
    try:
        catalog = load_catalog(settings.catalog)
        check_pools(settings.pools, [spec.id for spec in catalog.models])
        listener = bound(settings.server.host, settings.server.port)
    except (CatalogError, CannotListen, PoolsError) as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(2) from error
    configure_logs(settings.log_format, settings.log_level)
    drain = Drain(settings.server.drain_seconds)
    app = create_app(settings, catalog, drain)
    server = make_server(app, settings.server, drain)
    server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(3)
    if drain.is_asked_for:
        raise typer.Exit(4)
