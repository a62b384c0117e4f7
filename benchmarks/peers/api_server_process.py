"""vLLM's own API server, unchanged, with the product's engine arguments for a model.

Its argument is a JSON document: the model's `spec`, `adapters` by id, and a loopback `port`.
**Source:** vllm.entrypoints.launchers.api_server.entry.main (0.32).
"""

import json
import sys
from argparse import Namespace
from typing import Any

import uvloop
from vllm.entrypoints.launchers.api_server.entry import run_server
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

from app.catalog import ModelSpec
from benchmarks.peers.arguments import take_over


def arguments(order: dict[str, Any]) -> Namespace:
    """Return the server's arguments. It logs no request, and tells the engine's metrics.

    The product does both; it has vLLM's statistics from a logger of its own.
    """
    args: Namespace = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    take_over(args, ModelSpec.model_validate(order["spec"]), order["adapters"])
    args.host, args.port = "127.0.0.1", order["port"]
    args.disable_log_stats = False
    args.uvicorn_log_level = "warning"
    args.disable_uvicorn_access_log = True
    validate_parsed_serve_args(args)
    return args


if __name__ == "__main__":
    uvloop.run(run_server(arguments(json.loads(sys.argv[1]))))
