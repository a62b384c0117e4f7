"""What can go wrong with the database as a whole; nothing here knows HTTP.

DatabaseError
├── InvalidDatabaseUrl    the setting names no database that is supported
├── DatabaseUnavailable   it does not answer
└── SchemaMismatch        it answers, but its tables are not the ones this release was built for
"""


class DatabaseError(Exception):
    """Base of the database errors; no message holds a password."""


class InvalidDatabaseUrl(DatabaseError):
    """The URL names neither a SQLite file nor a PostgreSQL server."""

    def __init__(self) -> None:
        super().__init__(
            "set LORA_API_DATABASE__URL to postgresql+asyncpg://user:password@host/name "
            "or sqlite+aiosqlite:///path"
        )


class DatabaseUnavailable(DatabaseError):
    """No answer in time; the cause is chained, never shown."""


class SchemaMismatch(DatabaseError):
    """The schema is missing, older, newer or half-applied; `found` is its revision, if it has one.

    An older one is cured by migrating, any other by a person.
    """

    def __init__(self, reason: str, *, found: str | None, expected: str | None) -> None:
        super().__init__(f"database schema {reason}: found {found}, expected {expected}")
        self.reason = reason
        self.found = found
        self.expected = expected
