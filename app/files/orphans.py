"""Which files in the store nobody needs: those without a row, unless one is on its way."""

from adapters_registry.store import ObjectStore
from app.files import upkeep_repository
from app.files.objects import FILES, object_key
from app.storage.orphans import ObjectKind


async def _remove(store: ObjectStore, file_id: str) -> None:
    await store.delete(object_key(file_id))


FILE_OBJECTS = ObjectKind("orphaned_file", FILES, "file", upkeep_repository.needed, _remove)
