"""The rule for migrations: what one may do while the release before it runs on.

A migration is told to write out what PostgreSQL would be asked, and each statement has to match a
table of those that code which knows nothing of it does not notice. What is not in the table is
refused, so a new kind of statement needs a decision.
"""

import re
import tomllib
from collections.abc import Callable
from io import StringIO
from types import ModuleType

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from packaging.version import Version

from tests.app.db.history import ROOT

TABLE = r'(?P<table>"?\w+"?)'
COLUMN = r'(?P<column>"?\w+"?)'
BINDS = r"\b(UNIQUE|REFERENCES|CHECK|PRIMARY KEY)\b"
ANOTHER_ACTION = r", (ADD|ALTER|DROP|RENAME|VALIDATE)\b"

CREATE_TABLE = re.compile(rf"CREATE TABLE {TABLE} ")
ADD_COLUMN = re.compile(rf"ALTER TABLE {TABLE} ADD COLUMN {COLUMN} (?P<definition>.*)")
UPDATE = re.compile(rf"UPDATE {TABLE} SET (?P<assignments>.*)")
ON_ANY_TABLE = (
    re.compile(rf"CREATE INDEX \S+ ON {TABLE} "),
    ADD_COLUMN,
    UPDATE,
)
"""The last two with bounds of their own."""
ON_NEW_TABLES = (
    CREATE_TABLE,
    re.compile(rf"CREATE (UNIQUE )?INDEX \S+ ON {TABLE} "),
    re.compile(rf"(ALTER TABLE|INSERT INTO|UPDATE) {TABLE} "),
)
NEVER_DELETED = {"organizations"}
"""Tables whose rows no release deletes, so that a row of a new table may hold them fast."""


def refused(upgrade: Callable[[], object]) -> list[str]:
    """Return the statements that the release before could trip over."""
    rule = _Rule()
    return [statement for statement in _statements(upgrade) if not rule.allows(statement)]


def is_contraction(migration: ModuleType, *, release: str) -> bool:
    """Tell whether the migration rightly says that code before `release` can do without.

    `unused_since` in a migration names the release from which on nothing uses what it takes away.
    """
    unused_since: str | None = getattr(migration, "unused_since", None)
    return unused_since is not None and Version(unused_since) < Version(release)


def release_in_the_making() -> str:
    """Return the version that is built from here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


class _Rule:
    """What one migration has made so far, and what it may do next."""

    def __init__(self) -> None:
        self._tables: set[str] = set()
        self._columns: set[tuple[str, str]] = set()

    def allows(self, statement: str) -> bool:
        if self._is_on_new_table(statement):
            return True
        found = next((m for p in ON_ANY_TABLE if (m := p.match(statement))), None)
        if found is None:
            return False
        if found.re is ADD_COLUMN:
            self._columns.add((_name(found["table"]), _name(found["column"])))
            return _can_be_left_out(found["definition"])
        return found.re is not UPDATE or self._fills_new_columns(found)

    def _is_on_new_table(self, statement: str) -> bool:
        found = next((m for p in ON_NEW_TABLES if (m := p.match(statement))), None)
        if found is None:
            return False
        if found.re is CREATE_TABLE:
            self._tables.add(_name(found["table"]))
        held = set(map(_name, re.findall(r'REFERENCES ("?\w+"?)', statement)))
        return _name(found["table"]) in self._tables and held <= self._tables | NEVER_DELETED

    def _fills_new_columns(self, update: re.Match[str]) -> bool:
        assigned = re.findall(r'("?\w+"?) ?= ?', update["assignments"].split(" WHERE ")[0])
        table = _name(update["table"])
        return all((table, _name(column)) in self._columns for column in assigned)


def _can_be_left_out(definition: str) -> bool:
    """Tell whether an INSERT that does not know the column passes, and nothing else changes."""
    if re.search(f"{BINDS}|{ANOTHER_ACTION}", definition):
        return False
    return "NOT NULL" not in definition or "DEFAULT" in definition


def _name(quoted: str) -> str:
    return quoted.strip('"')


def _statements(upgrade: Callable[[], object]) -> list[str]:
    written = StringIO()
    options = {"as_sql": True, "output_buffer": written}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    with Operations.context(context):
        upgrade()
    statements = (" ".join(part.split()) for part in written.getvalue().split(";"))
    return [statement for statement in statements if statement]
