"""Probes and metrics: the only routes without a key."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.dependencies import HealthServiceDep

router = APIRouter()


@router.get("/health/live")
async def live() -> dict[str, str]:
    """Answer as long as the process handles requests at all."""
    return {"status": "ok"}


@router.get("/health/ready")
async def ready(health: HealthServiceDep, response: Response) -> dict[str, object]:
    """200 when every part that all requests need answers, else 503 with the parts that do not.

    A part that only some requests need, such as the object store, is named under `degraded`.
    """
    found = await health.check()
    response.status_code = 503 if found.failing else 200
    status = "unavailable" if found.failing else "ok"
    return {"status": status, "failing": found.failing, "degraded": found.degraded}


@router.get("/metrics")
async def metrics(health: HealthServiceDep) -> Response:
    """Prometheus text format: the service's metrics and those of every engine."""
    return Response(health.metrics(), media_type=CONTENT_TYPE_LATEST)
