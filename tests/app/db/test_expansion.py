"""Each migration only adds, so that the release before it can run on; the rule sees what does not.

How to write one: docs/operations.md, "Writing a migration".
"""

from collections.abc import Callable, Mapping
from types import ModuleType

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.script import Script, ScriptDirectory

from app.db.migrate import DIRECTORY
from tests.app.db.expansion import is_contraction, refused, release_in_the_making

MIGRATIONS = list(ScriptDirectory(str(DIRECTORY)).walk_revisions())
BEFORE_ANY_RELEASE = {"0002"}
"""Came before anything was released, so that no code ran on the schema before."""


UNDER_THE_RULE = [script for script in MIGRATIONS if script.revision not in BEFORE_ANY_RELEASE]


def named(script: Script) -> str:
    return script.revision


@pytest.mark.parametrize("script", UNDER_THE_RULE, ids=named)
def test_a_migration_only_adds_or_takes_away_what_no_release_uses(script: Script) -> None:
    found = refused(script.module.upgrade)
    release = release_in_the_making()
    assert not found or is_contraction(script.module, release=release), (
        "code of the release before would fail on the schema after this: "
        "see 'Writing a migration' in docs/operations.md"
    )


@pytest.mark.parametrize("script", MIGRATIONS, ids=named)
def test_only_what_breaks_the_rule_is_excepted_from_it(script: Script) -> None:
    is_excepted = script.revision in BEFORE_ANY_RELEASE or hasattr(script.module, "unused_since")
    assert bool(refused(script.module.upgrade)) == is_excepted


def required(name: str, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String(8), nullable=False, server_default=default)


def make_filled_column_required() -> None:
    op.add_column("files", sa.Column("kind", sa.String(8), nullable=True))
    op.execute("UPDATE files SET kind = 'a'")
    op.alter_column("files", "kind", existing_type=sa.String(8), nullable=False)


def rename_in_batch() -> None:
    with op.batch_alter_table("files") as table:
        table.alter_column("purpose", new_column_name="use")


def hold_rows_of_an_old_table() -> None:
    file_id = sa.Column("file_id", sa.String(8), sa.ForeignKey("files.id"), primary_key=True)
    op.create_table("previews", file_id)


def add_unique_column() -> None:
    op.add_column("files", sa.Column("path", sa.String(8), unique=True))
    op.create_unique_constraint("uq_files_path", "files", ["path"])


BREAKING: Mapping[str, Callable[[], object]] = {
    "drop a table": lambda: op.drop_table("files"),
    "drop a column": lambda: op.drop_column("files", "sha256"),
    "drop an index": lambda: op.drop_index("ix_files_org_id_id"),
    "drop a constraint": lambda: op.drop_constraint("uq_api_keys_hash", "api_keys"),
    "rename a table": lambda: op.rename_table("files", "uploads"),
    "rename a column": lambda: op.alter_column("files", "purpose", new_column_name="use"),
    "rename a column in a batch": rename_in_batch,
    "change a type": lambda: op.alter_column("files", "bytes", type_=sa.Integer()),
    "require what may be null": lambda: op.alter_column("api_keys", "revoked_at", nullable=False),
    "let be null what was required": lambda: op.alter_column("files", "sha256", nullable=True),
    "drop a default": lambda: op.alter_column("files", "sha256", server_default=None),
    "add a required column": lambda: op.add_column("files", required("kind")),
    "add a column and require it": make_filled_column_required,
    "add a unique column": add_unique_column,
    "add a unique index": lambda: op.create_index("ix", "files", ["sha256"], unique=True),
    "add a unique constraint": lambda: op.create_unique_constraint("uq", "files", ["sha256"]),
    "add a check": lambda: op.create_check_constraint("ck", "files", "bytes > 0"),
    "add a foreign key": lambda: op.create_foreign_key("fk", "batches", "files", ["id"], ["id"]),
    "hold rows of an old table": hold_rows_of_an_old_table,
    "write another value": lambda: op.execute("UPDATE files SET purpose = 'b'"),
    "write rows": lambda: op.execute("INSERT INTO plans VALUES ('a')"),
    "delete rows": lambda: op.execute("DELETE FROM files"),
    "drop in plain SQL": lambda: op.execute("ALTER TABLE files DROP COLUMN sha256"),
    "drop in small letters": lambda: op.execute("alter table files drop column sha256"),
    "drop behind another action": lambda: op.execute(
        "ALTER TABLE files ADD COLUMN kind TEXT, DROP COLUMN sha256"
    ),
    "drop behind another statement": lambda: op.execute(
        "ALTER TABLE files ADD COLUMN kind TEXT; DROP TABLE files"
    ),
    "anything else": lambda: op.execute("DO $$ BEGIN END $$"),
}


@pytest.mark.parametrize("upgrade", BREAKING.values(), ids=BREAKING.keys())
def test_a_migration_that_breaks_running_code_is_refused(upgrade: Callable[[], object]) -> None:
    assert refused(upgrade)


def add_and_fill() -> None:
    op.add_column("files", sa.Column("kind", sa.String(8), nullable=True))
    op.execute("UPDATE files SET kind = purpose WHERE purpose = 'batch'")


def make_a_table() -> None:
    org_id = sa.Column("org_id", sa.String(8), sa.ForeignKey("organizations.id"))
    id = sa.Column("id", sa.String(8), primary_key=True)
    table = op.create_table("plans", id, org_id, required("kind"))
    op.create_index("ix_plans_kind", "plans", ["kind"], unique=True)
    op.bulk_insert(table, [{"id": "a", "kind": "b"}])
    op.alter_column("plans", "kind", nullable=True)


ADDING: Mapping[str, Callable[[], object]] = {
    "add a column that may be null": lambda: op.add_column("files", sa.Column("kind", sa.Text())),
    "add a column with a default": lambda: op.add_column("files", required("kind", "a")),
    "add a column and fill it": add_and_fill,
    "add an index": lambda: op.create_index("ix", "files", ["sha256"]),
    "make a table and work on it": make_a_table,
}


@pytest.mark.parametrize("upgrade", ADDING.values(), ids=ADDING.keys())
def test_a_migration_that_adds_passes(upgrade: Callable[[], object]) -> None:
    assert refused(upgrade) == []


@pytest.mark.parametrize(
    ("unused_since", "is_right"), [("0.9.0", True), ("0.10.0", False), ("0.11.0", False)]
)
def test_what_a_released_version_uses_no_more_may_go_in_a_later_one(
    unused_since: str, is_right: bool
) -> None:
    migration = ModuleType("migration")
    migration.unused_since = unused_since  # type: ignore[attr-defined]
    assert is_contraction(migration, release="0.10.0") == is_right


def test_a_migration_without_a_word_on_it_is_no_contraction() -> None:
    assert not is_contraction(ModuleType("migration"), release="0.10.0")
