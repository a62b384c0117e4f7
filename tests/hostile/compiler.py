"""Compiles schemas with xgrammar as vLLM does, each in a process of its own with limits.

Run as a program it reads one JSON array of schemas from standard input, and the directory of a
tokenizer from its argument; it writes one line of JSON for each schema. A crash, a hang and a
hunger for memory are results, not the end.
"""

import json
import os
import resource
import select
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import xgrammar
from transformers import AutoTokenizer
from vllm.v1.structured_output.backend_xgrammar import has_xgrammar_unsupported_json_features

CPU_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Compiled:
    """What one schema cost; times in seconds of processor, memory beyond the process's own."""

    convert_seconds: float
    compile_seconds: float
    memory_bytes: int
    problem: str | None


def compile_one(compiler: xgrammar.GrammarCompiler, schema: Any) -> Compiled:
    """Convert as in the API's process, then compile as in the engine's."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text, problem = json.dumps(schema), None
    started = time.process_time()
    converted = started
    try:
        if has_xgrammar_unsupported_json_features(schema):
            problem = "vLLM takes it for more than xgrammar can do"
        xgrammar.Grammar.from_json_schema(text)
        converted = time.process_time()
        compiler.compile_json_schema(text)
    except RuntimeError as error:
        problem = str(error)[:200]
    ended = time.process_time()
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1_024
    return Compiled(converted - started, ended - converted, memory, problem)


def compile_apart(compiler: xgrammar.GrammarCompiler, schema: Any) -> Compiled:
    """Do it in a child; its death is the problem that is reported."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.write(writer, json.dumps(asdict(compile_one(compiler, schema))).encode())
        os._exit(0)
    os.close(writer)
    select.select([reader], [], [], 4 * CPU_SECONDS)
    answer = os.read(reader, 65_536) if select.select([reader], [], [], 0)[0] else b""
    os.close(reader)
    if not answer:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not answer:
        return Compiled(0, 0, 0, f"died with status {os.waitstatus_to_exitcode(status)}")
    return Compiled(**json.loads(answer))


def main(tokenizer_directory: str) -> None:
    """Answer standard input."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_directory)
    compiler = xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo.from_huggingface(tokenizer), max_threads=1
    )
    for schema in json.load(sys.stdin):
        print(json.dumps(asdict(compile_apart(compiler, schema))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
