"""What can go wrong with an adapter, as data; nothing here knows HTTP.

RegistryError
├── InvalidAdapter          the upload breaks a rule: code, param, message
├── AdapterLoadFailed       the engine refused verified weights
├── AdapterCapacityExceeded every place is leased and stayed so for the whole wait
│   └── EngineReplaced      the engine is another one now, with room for all
└── StoreError
    ├── ObjectNotFound      no such key
    ├── ObjectCorrupt       the bytes do not have the digest that names them
    └── StoreUnavailable    the object store did not answer as it should
"""


class RegistryError(Exception):
    """Base of every error of this library."""


class InvalidAdapter(RegistryError):
    """An uploaded adapter breaks a rule; `message` tells its owner what to change.

    `code` names the rule (`zip_members`, `shape_mismatch`, …) and `param` the place: a file of the
    ZIP, a key of adapter_config.json or a tensor name.
    """

    def __init__(self, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


class AdapterLoadFailed(RegistryError):
    """The engine refused an adapter whose bytes were verified."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"engine refused adapter {digest}")
        self.digest = digest


class AdapterCapacityExceeded(RegistryError):
    """Every engine place (or byte of the disk cache) is held by leased adapters."""


class EngineReplaced(AdapterCapacityExceeded):
    """The engine was replaced while the adapter was on its way into it: it may be tried again."""


class StoreError(RegistryError):
    """Base of the object store's errors."""


class ObjectNotFound(StoreError):
    """No object has this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key}")
        self.key = key


class ObjectCorrupt(StoreError):
    """The object's bytes do not match the SHA-256 that names it."""

    def __init__(self, key: str) -> None:
        super().__init__(f"object {key} does not match its digest")
        self.key = key


class StoreUnavailable(StoreError):
    """The object store failed or did not answer in time; the cause is chained, never shown."""
