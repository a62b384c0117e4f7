"""The configured object store."""

from adapters_registry.directory import DirectoryStore
from adapters_registry.s3 import S3Store
from adapters_registry.store import ObjectStore
from app.settings import Settings


def make_store(settings: Settings) -> ObjectStore:
    """Return the store that the settings name; nothing is asked of it yet. To be closed."""
    options = settings.store
    if options.kind == "directory":
        return DirectoryStore(settings.data_dir / "objects")
    assert options.bucket is not None, "the settings have been validated"
    return S3Store(
        options.bucket,
        prefix=options.prefix,
        endpoint_url=options.endpoint_url,
        region=options.region,
        max_concurrency=options.max_concurrency,
    )
