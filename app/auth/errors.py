"""What can go wrong with tenants and keys, as data; nothing here knows HTTP.

AuthError
├── InvalidApiKey             missing, malformed, unknown or revoked: all alike
├── InvalidOrganizationName   breaks the pattern of names
├── InvalidPlanName           breaks the pattern of names
├── OrganizationNotFound      no organisation has this name
├── KeyNotFound               no key has this id
└── SecretUnusable            the kept secret cannot be read, or is too short
"""


class AuthError(Exception):
    """Base of every error of this package."""


class InvalidApiKey(AuthError):
    """The caller is nobody we know; says nothing about why."""


class InvalidOrganizationName(AuthError):
    """A name must be 1 to 63 of `a-z`, `0-9` and `-`, and must not start with `-`."""

    def __init__(self, name: str) -> None:
        super().__init__("an organisation's name is 1 to 63 of a-z, 0-9 and -, not starting with -")
        self.name = name


class InvalidPlanName(AuthError):
    """A plan's name must be 1 to 63 of `a-z`, `0-9`, `_` and `-`, beginning with the first two."""

    def __init__(self, plan: str) -> None:
        super().__init__("a plan's name is 1 to 63 of a-z, 0-9, _ and -, starting with a-z or 0-9")
        self.plan = plan


class OrganizationNotFound(AuthError):
    """No organisation has this name."""

    def __init__(self, name: str) -> None:
        super().__init__("no organisation has this name")
        self.name = name


class KeyNotFound(AuthError):
    """No key has this id."""

    def __init__(self, key_id: str) -> None:
        super().__init__("no key has this id")
        self.key_id = key_id


class SecretUnusable(AuthError):
    """The secret in the data directory cannot be used; the message says what to do."""
