"""An executor whose model takes no time: what is left is vLLM's scheduler and the API process.

Named as `distributed_executor_backend` by `benchmarks.models.instant`, for both sides alike.
"""

from concurrent.futures import Future
from typing import Any

from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.outputs import ModelRunnerOutput

from app.engine.cpu_executor import CpuExecutor

FIRST_TOKEN, TOKENS = 100, 150


class InstantExecutor(CpuExecutor):
    """Loads the model as ever, and answers each step with a token for each prompt that is through.

    **Source:** vllm.v1.executor.uniproc_executor.UniProcExecutor (0.32).
    """

    def _init_executor(self) -> None:
        super()._init_executor()
        self._prompts: dict[str, int] = {}

    def execute_model(self, scheduler_output: SchedulerOutput, non_block: bool = False) -> Any:
        """Count what was scheduled, and draw the tokens: those of a place are always the same."""
        ends = self._ends(scheduler_output)
        names = list(scheduler_output.num_scheduled_tokens)
        tokens = [_token(ends[name] - self._prompts[name]) for name in names]
        output = ModelRunnerOutput(names, {name: i for i, name in enumerate(names)}, tokens)
        for name in scheduler_output.finished_req_ids:
            self._prompts.pop(name, None)
        if not non_block:
            return output
        future: Future[ModelRunnerOutput] = Future()
        future.set_result(output)
        return future

    def _ends(self, scheduled: SchedulerOutput) -> dict[str, int]:
        """Tell how many of each request's tokens are computed after this step."""
        known = scheduled.scheduled_cached_reqs
        begun = dict(zip(known.req_ids, known.num_computed_tokens, strict=True))
        for request in scheduled.scheduled_new_reqs:
            self._prompts[request.req_id] = len(request.prompt_token_ids or ())
            begun[request.req_id] = request.num_computed_tokens
        return {name: begun[name] + count for name, count in scheduled.num_scheduled_tokens.items()}


def _token(beyond: int) -> list[int]:
    return [] if beyond < 0 else [FIRST_TOKEN + beyond % TOKENS]
