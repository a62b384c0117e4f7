"""Turns a GGUF file into a Hugging Face model directory; run as a process of its own.

A child process gives its memory back at its end, and keeps torch out of the process that waits.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def convert(source: Path, destination: Path) -> None:
    """Write bfloat16 safetensors, the tokenizer and its chat template into `destination`."""
    directory, name = str(source.parent), source.name
    model = AutoModelForCausalLM.from_pretrained(
        directory,
        gguf_file=name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(gguf_file=name, dequantize=True),
    )
    model.save_pretrained(destination)
    AutoTokenizer.from_pretrained(directory, gguf_file=name).save_pretrained(destination)


def main() -> None:
    """Convert the file named first into the directory named second."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("destination", type=Path)
    arguments = parser.parse_args()
    convert(arguments.source, arguments.destination)


if __name__ == "__main__":
    main()
