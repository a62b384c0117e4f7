"""vLLM's own batch runner with its start-up left out: a child process that runs file after file.

The engine is started and vLLM's serving objects are made once; after that each command runs vLLM's
`run_batch`, unchanged, from reading the input to having written the output. Commands and answers
are JSON lines on standard input and output.
"""

import asyncio
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, TextIO

from vllm.entrypoints.launchers import run_batch as runner
from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser

from app.catalog import ModelSpec
from benchmarks.peers.arguments import take_over


def arguments(spec: ModelSpec, adapters: Mapping[str, str]) -> Namespace:
    """Return run_batch's arguments with the engine arguments that the product has for the model."""
    parser = runner.make_arg_parser(FlexibleArgumentParser())
    args: Namespace = parser.parse_args(["-i", "none", "-o", "none"])
    take_over(args, spec, adapters)
    return args


async def serve(args: Namespace, commands: TextIO, answers: TextIO) -> None:
    """Run one file for each command until there are no more."""
    usage = UsageContext.OPENAI_BATCH_RUNNER
    async with build_async_engine_client(args, usage_context=usage) as engine:
        registry: dict[str, dict[str, Any]] = await runner.build_endpoint_registry(engine, args)

        async def made_before(*_: object, **__: object) -> dict[str, dict[str, Any]]:
            return registry

        runner.build_endpoint_registry = made_before
        _tell(answers, {"ready": True})
        while command := await asyncio.to_thread(commands.readline):
            args.input_file, args.output_file = json.loads(command)
            begun = time.perf_counter()
            await runner.run_batch(engine, args)
            _tell(answers, {"seconds": time.perf_counter() - begun})


def main() -> None:
    """Start with the model and adapters of the first line that comes in."""
    # What vLLM or its libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    start = json.loads(sys.stdin.readline())
    spec = ModelSpec.model_validate(start["spec"])
    args = arguments(spec, start["adapters"])
    asyncio.run(serve(args, sys.stdin, answers))


def _tell(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
