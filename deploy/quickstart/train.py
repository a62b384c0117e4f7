"""Trains a LoRA adapter on the CPU with PEFT and writes it in the form that Groq accepts.

Run as a process of its own (`python -m deploy.quickstart.train pirate BASE DESTINATION`), so
that torch's memory is given back before the server starts.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE
from deploy.quickstart.progress import task
from deploy.quickstart.recipe import RECIPE
from deploy.quickstart.styles import STYLES, Style

IGNORED = -100

# Token ids and labels, of one length.
Example = tuple[list[int], list[int]]


def train(style: Style, base: Path, destination: Path) -> None:
    """Teach `base` the style and write the adapter's two files into `destination`.

    `destination` appears whole or not at all. The same machine and packages give the same bytes.
    """
    torch.manual_seed(RECIPE.seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = _with_lora(base)
    examples = [_example(tokenizer, *pair) for pair in style.pairs]
    steps = RECIPE.epochs * len(_batches(examples))
    with task(f"Training the {style.name} adapter", steps=steps) as advance:
        for _ in _optimise(model, examples):
            advance()
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=destination.parent) as directory:
        complete = Path(directory) / style.name
        _write(model, complete)
        complete.rename(destination)


def _with_lora(base: Path) -> PeftModel:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(
        r=RECIPE.rank,
        lora_alpha=RECIPE.alpha,
        target_modules=list(RECIPE.target_modules),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _example(tokenizer: PreTrainedTokenizerBase, question: str, answer: str) -> Example:
    """Only the answer and its end are learnt."""
    messages = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    said = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return asked + said, [IGNORED] * len(asked) + said


def _batches(examples: list[Example]) -> list[list[Example]]:
    size = RECIPE.batch_size
    return [examples[at : at + size] for at in range(0, len(examples), size)]


def _optimise(model: PeftModel, examples: list[Example]) -> Iterator[float]:
    """Yield the loss of each step."""
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=RECIPE.learning_rate, weight_decay=0.0)
    model.train()
    for _ in range(RECIPE.epochs):
        order = torch.randperm(len(examples)).tolist()
        for batch in _batches([examples[index] for index in order]):
            loss = model(**_tensors(batch)).loss
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            yield loss.item()


def _tensors(batch: list[Example]) -> dict[str, torch.Tensor]:
    """Pad on the right to (examples, longest) int64."""
    longest = max(len(ids) for ids, _ in batch)

    def padded(rows: list[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])

    return {
        "input_ids": padded([ids for ids, _ in batch], 0),
        "labels": padded([labels for _, labels in batch], IGNORED),
        "attention_mask": padded([[1] * len(ids) for ids, _ in batch], 0),
    }


def _write(model: PeftModel, directory: Path) -> None:
    directory.mkdir()
    weights = {
        name.replace(".default.weight", ".weight"): weight.detach().to(torch.float16).contiguous()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    save_file(weights, directory / WEIGHTS_FILE, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RECIPE.rank,
        "lora_alpha": RECIPE.alpha,
        "target_modules": sorted(RECIPE.target_modules),
    }
    (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    """Train the named style."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("style", choices=sorted(STYLES))
    parser.add_argument("base", type=Path)
    parser.add_argument("destination", type=Path)
    arguments = parser.parse_args()
    disable_progress_bar()
    train(STYLES[arguments.style], arguments.base, arguments.destination)


if __name__ == "__main__":
    main()
