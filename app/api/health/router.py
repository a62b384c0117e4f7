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
    """200 when every part that a request needs answers, else 503 with the parts that do not."""
    failing = await health.failing()
    response.status_code = 503 if failing else 200
    return {"status": "unavailable" if failing else "ok", "failing": failing}


@router.get("/metrics")
async def metrics(health: HealthServiceDep) -> Response:
    """Prometheus text format: the service's metrics and those of every engine."""
    return Response(health.metrics(), media_type=CONTENT_TYPE_LATEST)
