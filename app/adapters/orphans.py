"""Which artifacts in the store nobody needs: those that no version was registered with."""

from adapters_registry.artifacts import ARTIFACTS, unpublish
from app.adapters import repository
from app.storage.orphans import ObjectKind

ARTIFACT_OBJECTS = ObjectKind("artifact", ARTIFACTS, "ft", repository.stored, unpublish)
