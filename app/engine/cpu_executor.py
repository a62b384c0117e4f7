"""vLLM's executor of one process, for the CPU: the scheduler and the model share a process.

vLLM 0.32 has a second process for the model there, only so that it can set its OpenMP threads in
the environment that the process starts with. The two then wait for each other in busy loops, at
every step of the engine. This sets the same threads from within.
"""

import os

import torch
from vllm.utils.ompmultiprocessing import OMPProcessManager
from vllm.v1.executor.uniproc_executor import UniProcExecutor


class CpuExecutor(UniProcExecutor):  # type: ignore[misc]
    """Runs the model in the thread that schedules it, on the CPUs that vLLM would choose.

    **Source:** vllm.platforms.cpu.CpuPlatform.check_and_update_config (0.32), which takes this one
    by its qualified name and puts `mp` in the place of `uni`.
    """

    def _init_executor(self) -> None:
        # Empty where VLLM_CPU_OMP_THREADS_BIND is `nobind`: the environment says how many then.
        for cpus in OMPProcessManager(self.vllm_config).cpu_lists:
            # OpenMP's threads are started by this one, and take its affinity with them.
            os.sched_setaffinity(0, cpus)
            torch.set_num_threads(len(cpus))
        super()._init_executor()
