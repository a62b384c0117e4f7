"""What every part of a request's life may need to know of it, and its one way to say more."""

from dataclasses import dataclass, field

from app.auth.authenticator import Caller
from app.usage.types import Ledger


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who asks, under which `req_` id. `headers` go out with the response, whatever it will be.

    They may be added to until the response starts; later ones are lost. A line of a batch is a
    request too: it is served at the batch tier, waits for what others leave free, and may be
    interrupted for them. What is used goes to `ledger`, or to the process's own.
    """

    caller: Caller
    id: str
    headers: dict[str, str] = field(default_factory=dict)
    is_batch: bool = False
    ledger: Ledger | None = None
