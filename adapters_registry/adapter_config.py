"""adapter_config.json: what is read from an uploaded one, what is refused, and the one we write.

Only the rank, the alpha and the rank-stabilised switch are taken. Settings that change what the
adapter computes in ways the engine does not follow are refused by name; all others concern training
and are dropped.

Source: peft.LoraConfig (0.21), vllm.lora.peft_helper.PEFTHelper (0.32).
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters_registry.errors import InvalidAdapter
from adapters_registry.strict_json import parse_object
from adapters_registry.types import CONFIG_FILE, AdapterConfig

MAX_CONFIG_BYTES = 1 << 20
MAX_ALPHA = 1024

_UNSUPPORTED = "config_unsupported"
_MUST_BE_EMPTY = {
    "rank_pattern": "config_pattern_refused",
    "alpha_pattern": "config_pattern_refused",
    "use_dora": "dora_unsupported",
    "modules_to_save": "modules_to_save_unsupported",
    "lora_bias": "bias_unsupported",
    "alora_invocation_tokens": _UNSUPPORTED,
    "arrow_config": _UNSUPPORTED,
    "kasa_config": _UNSUPPORTED,
    "layer_replication": _UNSUPPORTED,
    "monteclora_config": _UNSUPPORTED,
    "target_parameters": _UNSUPPORTED,
    "trainable_token_indices": _UNSUPPORTED,
    "use_bdlora": _UNSUPPORTED,
    "use_qalora": _UNSUPPORTED,
}
_PLAIN_INITS = (True, False, None, "eva", "gaussian", "lora_ga", "mica", "orthogonal")


@dataclass(frozen=True, slots=True)
class UploadedConfig:
    """The few settings that are taken from an upload."""

    rank: int
    alpha: int | float
    use_rslora: bool


def read_config(path: Path, *, ranks: Collection[int]) -> UploadedConfig:
    """Read and check an untrusted adapter_config.json.

    **Raises:** InvalidAdapter (`config_invalid`, `config_unsupported`, `config_pattern_refused`,
    `dora_unsupported`, `modules_to_save_unsupported`, `bias_unsupported`, `rank_unsupported`).
    """
    config = _parse(path)
    _refuse_other_methods(config)
    rslora = config.get("use_rslora") or False
    if not isinstance(rslora, bool):
        raise _error("config_invalid", "use_rslora", "must be true or false")
    return UploadedConfig(_rank(config.get("r"), ranks), _alpha(config.get("lora_alpha")), rslora)


def canonical_config(config: AdapterConfig, base_model: str) -> bytes:
    """Write the config that is stored and served: one line of JSON with sorted keys."""
    alpha = int(config.alpha) if config.alpha == int(config.alpha) else config.alpha
    fields = {
        "base_model_name_or_path": base_model,
        "bias": "none",
        "lora_alpha": alpha,
        "peft_type": "LORA",
        "r": config.rank,
        "target_modules": sorted(config.target_modules),
        "task_type": "CAUSAL_LM",
        "use_rslora": config.use_rslora,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError as error:
        message = f"{CONFIG_FILE} is missing."
        raise InvalidAdapter("config_invalid", message, param=CONFIG_FILE) from error
    if len(raw) > MAX_CONFIG_BYTES:
        message = f"{CONFIG_FILE} is larger than {MAX_CONFIG_BYTES} bytes."
        raise InvalidAdapter("config_invalid", message, param=CONFIG_FILE)
    try:
        return parse_object(raw)
    except ValueError as error:
        message = f"{CONFIG_FILE} must be one valid JSON object, with no key given twice."
        raise InvalidAdapter("config_invalid", message, param=CONFIG_FILE) from error


def _refuse_other_methods(config: dict[str, Any]) -> None:
    if config.get("peft_type", "LORA") != "LORA":
        raise _error(_UNSUPPORTED, "peft_type", "must be LORA")
    for key, code in _MUST_BE_EMPTY.items():
        if config.get(key):
            raise _error(code, key, "is not supported; train without it")
    if config.get("bias") not in (None, "none"):
        raise _error("bias_unsupported", "bias", 'must be "none"; train without biases')
    if config.get("init_lora_weights") not in _PLAIN_INITS:
        reason = "changes the base model's weights; convert the adapter to a plain LoRA on saving"
        raise _error(_UNSUPPORTED, "init_lora_weights", reason)


def _rank(value: object, ranks: Collection[int]) -> int:
    if type(value) is not int:
        raise _error("config_invalid", "r", "must be a whole number")
    if value not in ranks:
        allowed = ", ".join(map(str, sorted(ranks)))
        raise _error("rank_unsupported", "r", f"must be one of {allowed} for this base model")
    return value


def _alpha(value: object) -> int | float:
    # The comparison is also what refuses NaN and infinity (1e999).
    if type(value) not in (int, float) or not 0 < value <= MAX_ALPHA:  # type: ignore[operator]
        reason = f"must be a number above 0 and at most {MAX_ALPHA}"
        raise _error("config_invalid", "lora_alpha", reason)
    return value  # type: ignore[return-value]


def _error(code: str, key: str, reason: str) -> InvalidAdapter:
    return InvalidAdapter(code, f"{key} in {CONFIG_FILE} {reason}.", param=key)
