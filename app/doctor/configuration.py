"""What a look at the settings and their files tells, before anything is asked over a network."""

from collections.abc import Iterator
from pathlib import Path

from app.catalog import Catalog, CatalogError, load_catalog
from app.doctor.findings import Finding, ok, problem, warning
from app.limits.plans import PlansError, load_plans
from app.settings import Settings


def read_catalog(settings: Settings) -> tuple[Catalog | None, Finding]:
    """Read the catalog, and say how that went."""
    try:
        catalog = load_catalog(settings.catalog)
    except CatalogError as error:
        return None, problem("catalog", str(error))
    models = ", ".join(model.id for model in catalog.models)
    return catalog, ok("catalog", f"{settings.catalog}: {models}")


def of_plans(settings: Settings) -> Iterator[Finding]:
    """Look at the file of plans, if there is one."""
    if settings.plans is None:
        yield ok("plans", "none: nothing is limited")
        return
    try:
        plans = load_plans(settings.plans)
    except PlansError as error:
        yield problem("plans", str(error))
    else:
        yield ok("plans", f"{settings.plans}: {', '.join(sorted(plans.plans))}")


def of_sharing(settings: Settings) -> Iterator[Finding]:
    """Look at what replicas have to have in common."""
    if settings.database.url is None and settings.store.kind == "directory":
        yield ok("replicas", "one process: database and store are embedded")
        return
    if settings.database.url is None:
        yield problem(
            "replicas", "the store is shared, the database is not: set LORA_API_DATABASE__URL"
        )
    if settings.store.kind == "directory":
        yield problem(
            "replicas", "the database is shared, the store is not: set LORA_API_STORE__KIND"
        )
    if settings.auth.secret is None:
        yield problem(
            "replicas", "set LORA_API_AUTH__SECRET: without it each knows its own keys only"
        )
    if settings.plans is not None and settings.rate_limits.storage_url is None:
        yield warning("replicas", "each counts alone: set LORA_API_RATE_LIMITS__STORAGE_URL")


def of_sources(catalog: Catalog) -> Iterator[Finding]:
    """Look at the models that lie in local directories."""
    for model in catalog.models:
        source = Path(model.source)
        if not source.is_absolute():
            continue
        try:
            is_there = any(source.iterdir())
        except OSError as error:
            yield problem("models", f"{model.id}: {source} cannot be read: {error.strerror}")
        else:
            yield (
                ok("models", f"{model.id}: {source}")
                if is_there
                else problem("models", f"{model.id}: {source} is empty")
            )
