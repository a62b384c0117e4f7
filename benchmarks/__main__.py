"""The benchmarks by name: `python -m benchmarks --help`."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import batch_interference as interference
from benchmarks import batch_memory as memory
from benchmarks import batch_throughput as throughput
from benchmarks import serving as serving_benchmark
from benchmarks.models import TINY
from benchmarks.report import Report

main = typer.Typer(no_args_is_help=True, help=__doc__)
ALL_CASES = "plain,one prefix,many prefixes,adapters"
ALL_SIZES = "1000,10000,50000"


@main.command("batch_throughput")
def batch_throughput(
    model: Annotated[str, typer.Option(help="tiny-llama or smollm2-135m-instruct.")] = TINY,
    cases: Annotated[str, typer.Option(help="Which workloads, with commas.")] = ALL_CASES,
    lines: int = 1000,
    tokens: int = 16,
    pairs: int = 5,
    running: Annotated[int, typer.Option(help="vLLM's max_num_seqs.")] = 32,
) -> None:
    """Lines a second of batches against vLLM's run_batch."""
    scale = throughput.Scale(model, lines, tokens, pairs, running)
    report = _report(f"batch_throughput-{model}")
    with _room() as room:
        throughput.measure(scale, cases.split(","), Path(room), report)
    _tell(report)


@main.command("batch_memory")
def batch_memory(
    sizes: Annotated[str, typer.Option(help="Lines of each batch, with commas.")] = ALL_SIZES,
    running: Annotated[int, typer.Option(help="vLLM's max_num_seqs.")] = 32,
) -> None:
    """Peak memory of batches against vLLM's run_batch."""
    report = _report("batch_memory")
    with _room() as room:
        memory.measure(_numbers(sizes), running, Path(room), report)
    _tell(report)


@main.command("batch_interference")
def batch_interference(
    model: Annotated[str, typer.Option(help="tiny-llama or smollm2-135m-instruct.")] = TINY,
    rates: Annotated[str, typer.Option(help="Questions a second, with commas.")] = "4,12",
    seconds: Annotated[float, typer.Option(help="Length of each of a turn's phases.")] = 15.0,
    pairs: int = 3,
    running: Annotated[int, typer.Option(help="vLLM's max_num_seqs.")] = 16,
    adapters: Annotated[bool, typer.Option(help="More adapters than slots.")] = False,
    limits: Annotated[bool, typer.Option(help="With the product's limits of batches.")] = True,
    batch_share: Annotated[float, typer.Option(help="The server's setting of that name.")] = 1.0,
) -> None:
    """What a saturating batch costs people who talk to the same model."""
    questions = tuple(float(each) for each in rates.split(","))
    limiting = interference.Limiting(is_on=limits, batch_share=batch_share)
    scale = interference.Scale(model, questions, seconds, pairs, running, adapters, limiting)
    kinds = {"adapters": adapters, "unlimited": not limits, f"share-{batch_share}": batch_share < 1}
    name = "-".join(
        ["batch_interference", model, *(kind for kind, holds in kinds.items() if holds)]
    )
    report = _report(name)
    with _room() as room:
        interference.measure(scale, Path(room), report)
    _tell(report)


@main.command("serving")
def serving(
    model: Annotated[str, typer.Option(help="tiny-llama or smollm2-135m-instruct.")] = TINY,
    clients: Annotated[str, typer.Option(help="How many ask at once, with commas.")] = "1,8,32,128",
    adapters: Annotated[str, typer.Option(help="How many are asked in turn; 0: none.")] = "0",
    seconds: Annotated[float, typer.Option(help="Length of each side's part of a turn.")] = 5.0,
    pairs: int = 5,
    running: Annotated[int, typer.Option(help="vLLM's max_num_seqs.")] = 32,
    instant: Annotated[bool, typer.Option(help="Have steps that take no time.")] = False,
) -> None:
    """Answers a second against vLLM's own API server."""
    counts = tuple(_numbers(clients)), tuple(_numbers(adapters))
    scale = serving_benchmark.Scale(model, *counts, seconds, pairs, running, instant)
    report = _report(f"serving-{model}{'-instant' if instant else ''}")
    with _room() as room:
        serving_benchmark.measure(scale, Path(room), report)
    _tell(report)


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def _report(name: str) -> Report:
    return Report(name, " ".join(["python -m benchmarks", *sys.argv[1:]]))


def _room() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="benchmark-")


def _tell(report: Report) -> None:
    path = report.save()
    typer.echo(report.markdown())
    typer.echo(f"Every figure: {path.name}")


if __name__ == "__main__":
    main()
