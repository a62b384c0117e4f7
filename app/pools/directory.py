"""Which pool serves which base model. This pool's own models are not in it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from app.settings import PoolSettings


class PoolsError(Exception):
    """The pools cannot be told apart; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A set of replicas with one catalog. `url` has no slash at its end."""

    url: str
    models: tuple[str, ...]

    @property
    def name(self) -> str:
        """Host and port, as metrics and logs say it."""
        return self.url.partition("://")[2]


class ServedElsewhere(Exception):
    """What was asked wants an engine that another pool has; `model` is what the caller called it.

    No answer yet: the request can be passed on as it came.
    """

    def __init__(self, pool: Pool, model: str) -> None:
        super().__init__(f"{model} is served by {pool.name}")
        self.pool = pool
        self.model = model


class PoolDirectory:
    """The other pools, by base model."""

    def __init__(self, pools: Iterable[Pool] = ()) -> None:
        self.pools = tuple(pools)
        self._by_model = {model: pool for pool in self.pools for model in pool.models}

    @classmethod
    def of(cls, settings: Iterable[PoolSettings]) -> "PoolDirectory":
        """Make the directory that the settings describe."""
        return cls(Pool(each.url, each.models) for each in settings)

    @property
    def models(self) -> frozenset[str]:
        """The base models of all other pools."""
        return frozenset(self._by_model)

    def require_own(self, base_model: str, asked: str) -> None:
        """Return unless another pool serves the base model; `asked` is the caller's word for it.

        **Raises:** ServedElsewhere.
        """
        if (pool := self._by_model.get(base_model)) is not None:
            raise ServedElsewhere(pool, asked)


NO_POOLS = PoolDirectory()


def check_pools(settings: Iterable[PoolSettings], own: Collection[str]) -> None:
    """Check that no other pool is said to serve one of our own models. **Raises:** PoolsError."""
    if both := sorted(PoolDirectory.of(settings).models.intersection(own)):
        raise PoolsError(
            f"LORA_API_POOLS: the model {both[0]} is in this server's own catalog too; "
            "list the models of other pools alone"
        )
