"""The product's engine arguments, put into the arguments that vLLM's own programs parse."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import fields

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.openai.models.protocol import LoRAModulePath

from app.catalog import ModelSpec
from app.engine.vllm_args import CPU_EXECUTOR, build_engine_args


def take_over(args: Namespace, spec: ModelSpec, adapters: Mapping[str, str]) -> None:
    """Set all but the product's own executor; `adapters` are ids and places."""
    engine = build_engine_args(spec)
    for field in fields(AsyncEngineArgs):
        if hasattr(args, field.name):
            setattr(args, field.name, getattr(engine, field.name))
    if args.distributed_executor_backend == CPU_EXECUTOR:
        args.distributed_executor_backend = None
    args.served_model_name = [spec.id]
    args.lora_modules = [LoRAModulePath(name, path) for name, path in adapters.items()] or None
