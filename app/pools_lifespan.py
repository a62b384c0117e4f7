"""Opens the way to other pools, where there are any."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from app.ground import Ground
from app.observability.pools import PoolMetrics
from app.pools.client import make_client
from app.pools.forwarding import Forwarder
from app.pools.listing import PoolListing


@dataclass(frozen=True, slots=True)
class OpenPools:
    """What the rest of the application uses of it."""

    forwarder: Forwarder | None = None
    listing: PoolListing | None = None


def open_pools(ground: Ground, stack: AsyncExitStack) -> OpenPools:
    """Open it; `stack` closes it."""
    pools = ground.pools.pools
    if not pools:
        return OpenPools()
    client = make_client()
    stack.push_async_callback(client.aclose)
    metrics = PoolMetrics(ground.metrics.registry, [pool.name for pool in pools])
    return OpenPools(Forwarder(client, metrics), PoolListing(client, ground.pools))
