"""Rows of adapters in the bucket that were refused."""

from typing import Any

from app.db.tables import BucketAdapterRow
from app.ids import new_id
from tests.app.adapters.world import BASE, World


def refused_row(org_id: str, name: str = "broken", **fields: Any) -> BucketAdapterRow:
    """Make one; `fields` replace what it says."""
    row = {
        "id": new_id("ft"),
        "source": f"{org_id}/{BASE}/{name}",
        "org_id": org_id,
        "base_model": BASE,
        "name": name,
        "applied": "mark",
        "code": "shape_mismatch",
        "param": "a.tensor",
        "message": "It has another shape.",
        "created_at": 1_700_000_000,
    }
    return BucketAdapterRow(**row | fields)


async def refuse(world: World, org_id: str, name: str = "broken") -> str:
    """Have one; return its id."""
    row = refused_row(org_id, name)
    id = row.id
    async with world.database.sessions.begin() as session:
        session.add(row)
    return id
