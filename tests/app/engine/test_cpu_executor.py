"""Where an engine of one process computes: on the CPUs, and with the threads, that vLLM chooses."""

import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from app.engine import cpu_executor
from app.engine.cpu_executor import CpuExecutor

CPUS = sorted(os.sched_getaffinity(0))


def computing_on(monkeypatch: pytest.MonkeyPatch, chosen: list[list[int]]) -> tuple[list[int], int]:
    """Begin an engine in a thread of its own; return its CPUs, and how many threads it has."""
    found: list[tuple[list[int], int]] = []

    def begun(_: UniProcExecutor) -> None:
        found.append((sorted(os.sched_getaffinity(0)), torch.get_num_threads()))

    monkeypatch.setattr(UniProcExecutor, "_init_executor", begun)
    manager = SimpleNamespace(cpu_lists=chosen)
    monkeypatch.setattr(cpu_executor, "OMPProcessManager", lambda _: manager)
    executor = CpuExecutor.__new__(CpuExecutor)
    executor.vllm_config = None
    with ThreadPoolExecutor(1) as thread:
        thread.submit(executor._init_executor).result()
    return found[0]


@pytest.mark.parametrize("cpus", [CPUS[-1:], CPUS])
def test_it_computes_on_the_cpus_that_vllm_chooses(monkeypatch, cpus):
    assert computing_on(monkeypatch, [cpus]) == (cpus, len(cpus))


def test_where_binding_is_off_nothing_is_changed(monkeypatch):
    assert computing_on(monkeypatch, []) == (CPUS, torch.get_num_threads())
