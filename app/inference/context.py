"""What every part of a request's life may need to know of it, and its one way to say more."""

from dataclasses import dataclass, field

from app.auth.authenticator import Caller


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who asks, under which `req_` id. `headers` go out with the response, whatever it will be.

    They may be added to until the response starts; later ones are lost.
    """

    caller: Caller
    id: str
    headers: dict[str, str] = field(default_factory=dict)
