"""Who uses a version at the moment: leases it, waits for a lease, or fetches it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from adapters_registry.types import AdapterVersion


class Uses:
    """Counts the users of each version; of one that nobody uses, nothing is kept."""

    def __init__(self) -> None:
        self._uses: dict[AdapterVersion, _Use] = {}

    @contextmanager
    def of(self, version: AdapterVersion) -> Iterator[None]:
        """Be a user of the version until the block ends."""
        if (use := self._uses.get(version)) is None:
            use = self._uses[version] = _Use()
        use.users += 1
        try:
            yield
        finally:
            use.users -= 1
            if use.users == 0:
                del self._uses[version]
                if use.ended is not None:
                    use.ended.set()

    def end_of(self, version: AdapterVersion) -> asyncio.Event | None:
        """Return what is set once its last user has left; None where it has none."""
        if (use := self._uses.get(version)) is None:
            return None
        use.ended = use.ended or asyncio.Event()
        return use.ended


@dataclass(slots=True)
class _Use:
    """Those who use one version. `ended` is there where somebody waits for the last of them."""

    users: int = 0
    ended: asyncio.Event | None = None
