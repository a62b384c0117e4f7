"""Probes and metrics: routes without a key."""

from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.health.schemas import Liveness, Readiness
from app.dependencies import HealthServiceDep

router = APIRouter()


@router.get("/health/live", operation_id="getLiveness")
async def live() -> Liveness:
    """Answer as long as the process handles requests at all."""
    return Liveness()


@router.get("/health/ready", operation_id="getReadiness", responses={503: {"model": Readiness}})
async def ready(health: HealthServiceDep, response: Response) -> Readiness:
    """Tell whether every part that all requests need answers: 200, else 503.

    A part that only some requests need, the object store or an optional model, is named under
    `degraded`.
    """
    found = await health.check()
    response.status_code = 503 if found.failing else 200
    status: Literal["ok", "unavailable"] = "unavailable" if found.failing else "ok"
    return Readiness(
        status=status, failing=found.failing, degraded=found.degraded, models=found.models
    )


@router.get("/metrics", operation_id="getMetrics", response_class=PlainTextResponse)
async def metrics(health: HealthServiceDep) -> Response:
    """Prometheus text format: the service's metrics and those of every engine."""
    return Response(await health.metrics(), media_type=CONTENT_TYPE_LATEST)
