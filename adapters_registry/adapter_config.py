"""adapter_config.json: what is read from an uploaded one, what is refused, and the one we write.

Only the rank, the alpha and the rank-stabilised switch are taken. Settings that change what the
adapter computes in ways the engine does not follow are refused by name; all others concern training
or repeat what the tensors say (`target_modules`, `layers_to_transform`), and are dropped. The base
model's name is compared with other models' names and never used as a path or a hub id.

Source: peft.LoraConfig (0.21), vllm.lora.peft_helper.PEFTHelper (0.32).
"""

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters_registry.errors import InvalidAdapter
from adapters_registry.strict_json import parse_object, shown
from adapters_registry.types import CONFIG_FILE, AdapterConfig

MAX_CONFIG_BYTES = 1 << 20
MAX_ALPHA = 1024

_BASE_KEY = "base_model_name_or_path"
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
_PLAIN_INITS = ("eva", "gaussian", "lora_ga", "mica", "orthogonal")


@dataclass(frozen=True, slots=True)
class UploadedConfig:
    """The few settings that are taken from an upload."""

    rank: int
    alpha: int | float
    use_rslora: bool

    @property
    def scaling(self) -> float:
        """The factor of B times A. Source: peft.tuners.lora.layer.LoraLayer (0.21)."""
        return self.alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)


def read_config(
    path: Path, *, base_model: str, foreign_bases: Collection[str], ranks: Collection[int]
) -> UploadedConfig:
    """Read and check an untrusted adapter_config.json.

    `foreign_bases` are names of models other than `base_model`.
    **Raises:** InvalidAdapter (`config_invalid`, `base_model_mismatch`, `config_unsupported`,
    `config_pattern_refused`, `dora_unsupported`, `modules_to_save_unsupported`,
    `bias_unsupported`, `rank_unsupported`).
    """
    config = _parse(path)
    _check_base(config.get("base_model_name_or_path"), base_model, foreign_bases)
    _refuse_other_methods(config)
    rslora = config.get("use_rslora") or False
    if not isinstance(rslora, bool):
        raise _error("config_invalid", "use_rslora", rslora, "true or false is expected")
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
        message = f"{CONFIG_FILE} is missing; add the one that training has written."
        raise InvalidAdapter("config_invalid", message, param=CONFIG_FILE) from error
    if len(raw) > MAX_CONFIG_BYTES:
        message = (
            f"{CONFIG_FILE} is larger than the {MAX_CONFIG_BYTES} bytes allowed;"
            " remove what does not belong to the adapter."
        )
        raise InvalidAdapter("config_invalid", message, param=CONFIG_FILE)
    try:
        return parse_object(raw)
    except ValueError as error:
        message = (
            f"{CONFIG_FILE} cannot be read; one JSON object in UTF-8 is expected, with no key given"
            " twice, without NaN or Infinity. Save it again from the training tool."
        )
        raise InvalidAdapter("config_invalid", message, param=CONFIG_FILE) from error


def _check_base(said: object, base_model: str, foreign_bases: Collection[str]) -> None:
    if said is None:
        return
    if not isinstance(said, str):
        raise _error("config_invalid", _BASE_KEY, said, "text is expected")
    names = _names(said)
    if not names.isdisjoint(_names(base_model)):
        return
    for foreign in foreign_bases:
        # The last part of a local path ("final", "v1") says nothing about which model it is.
        is_path = foreign.startswith(("/", ".", "~")) or "\\" in foreign
        others = {_normal(foreign)} if is_path else _names(foreign)
        if not names.isdisjoint(others):
            advice = (
                f"that is another model than {base_model}, which was asked for; register the"
                " adapter for the model that it was trained on"
            )
            raise _error("base_model_mismatch", _BASE_KEY, said, advice)


def _names(text: str) -> set[str]:
    """Return the name as a whole and its last part, as far as they say anything."""
    whole = _normal(text)
    return {whole, whole.rpartition("/")[2]} - {"", ".", "..", "~"}


def _normal(text: str) -> str:
    return text.strip().replace("\\", "/").rstrip("/").casefold()


def _refuse_other_methods(config: dict[str, Any]) -> None:
    method = config.get("peft_type", "LORA")
    if method != "LORA":
        raise _error(_UNSUPPORTED, "peft_type", method, '"LORA" is expected; train a LoRA adapter')
    for key, code in _MUST_BE_EMPTY.items():
        if value := config.get(key):
            advice = "nothing is expected, as this is not supported; train without it"
            raise _error(code, key, value, advice)
    if (bias := config.get("bias")) not in (None, "none"):
        raise _error("bias_unsupported", "bias", bias, '"none" is expected; train without biases')
    init = config.get("init_lora_weights")
    is_plain = (
        init.lower() in _PLAIN_INITS if isinstance(init, str) else init in (True, False, None)
    )
    if not is_plain:
        advice = (
            "this changes the base model's weights; convert the adapter to a plain LoRA on saving,"
            " with save_pretrained(..., path_initial_model_for_weight_conversion=...)"
        )
        raise _error(_UNSUPPORTED, "init_lora_weights", init, advice)


def _rank(value: object, ranks: Collection[int]) -> int:
    if type(value) is not int:
        raise _error("config_invalid", "r", value, "a whole number is expected")
    if value not in ranks:
        allowed = ", ".join(map(str, sorted(ranks)))
        advice = f"one of {allowed} is expected for this base model; train with one of these"
        raise _error("rank_unsupported", "r", value, advice)
    return value


def _alpha(value: object) -> int | float:
    # The comparison is also what refuses NaN and infinity (1e999).
    if type(value) not in (int, float) or not 0 < value <= MAX_ALPHA:  # type: ignore[operator]
        advice = f"a number above 0 and at most {MAX_ALPHA} is expected"
        raise _error("config_invalid", "lora_alpha", value, advice)
    return value  # type: ignore[return-value]


def _error(code: str, key: str, value: object, advice: str) -> InvalidAdapter:
    return InvalidAdapter(code, f"{key} in {CONFIG_FILE} is {shown(value)}; {advice}.", param=key)
