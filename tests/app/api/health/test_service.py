"""Readiness: every part is asked, at the same time, and not more often than needed."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter

from app.api.health import service
from app.api.health.service import Health, HealthService, Parts
from app.engine.base import EngineDead
from app.observability.metrics import Metrics


class Part:
    """A part that works, fails or hangs, and counts how often it was asked."""

    def __init__(self, error: Exception | None = None, *, hangs: bool = False) -> None:
        self.error = error
        self.hangs = hangs
        self.asked = 0

    async def check(self) -> None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error


async def test_the_parts_that_fail_are_named() -> None:
    parts = {"database": Part(), "store": Part(OSError("no route")), "model a": Part()}
    health = HealthService(Parts({name: part.check for name, part in parts.items()}, {}), [])

    assert (await health.check()).failing == ["store"]


async def test_a_part_that_much_works_without_is_named_apart() -> None:
    store = Part(OSError("no route"))
    health = HealthService(Parts({"database": Part().check}, {"store": store.check}), [])

    assert await health.check() == Health(failing=[], degraded=["store"])


async def test_readiness_says_which_models_are_up() -> None:
    dead = Part(EngineDead("gone"))
    parts = Parts(
        {},
        {},
        models={"chat": Part().check, "dead": dead.check},
        optional_models={"speech": Part().check, "dead-too": dead.check},
        absent=["never"],
    )

    assert await HealthService(parts, []).check() == Health(
        failing=["model dead"],
        degraded=["model dead-too", "model never"],
        models={
            "chat": "up",
            "dead": "down",
            "speech": "up",
            "dead-too": "down",
            "never": "not_started",
        },
    )


async def test_a_part_that_hangs_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CHECK_TIMEOUT_SECONDS", 0.01)
    health = HealthService(Parts({"store": Part(hangs=True).check}, {}), [])

    assert (await health.check()).failing == ["store"]


async def test_many_probes_at_once_ask_each_part_once() -> None:
    part = Part()
    health = HealthService(Parts({"database": part.check}, {}), [])

    answers = await asyncio.gather(*(health.check() for _ in range(50)))

    assert answers == [Health([], [])] * 50
    assert part.asked == 1


async def test_an_old_answer_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FRESH_SECONDS", -1.0)
    part = Part()
    health = HealthService(Parts({"database": part.check}, {}), [])
    await health.check()
    part.error = OSError("gone")

    assert (await health.check()).failing == ["database"]


async def test_all_registries_are_one_text() -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]
    for number, registry in enumerate(registries):
        Counter(f"metric_{number}", "A metric.", registry=registry).inc()

    text = (await HealthService(Parts({}, {}), registries).metrics()).decode()

    assert "metric_0_total 1.0" in text
    assert "metric_1_total 1.0" in text


async def test_the_metrics_tell_what_works_now() -> None:
    store, shown = Part(OSError("no route")), Metrics()
    parts = Parts({"database": Part().check}, {"store": store.check})
    health = HealthService(parts, [shown.registry], shown)

    text = (await health.metrics()).decode()

    assert "lora_api_ready 1.0" in text
    assert 'lora_api_part_up{part="database"} 1.0' in text
    assert 'lora_api_part_up{part="store"} 0.0' in text


async def test_a_replica_without_its_database_is_not_ready_in_the_metrics() -> None:
    database, shown = Part(OSError("no route")), Metrics()
    health = HealthService(Parts({"database": database.check}, {}), [shown.registry], shown)

    text = (await health.metrics()).decode()

    assert "lora_api_ready 0.0" in text
    assert 'lora_api_part_up{part="database"} 0.0' in text
