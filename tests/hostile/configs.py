"""Hostile adapter_config.json beside good weights."""

import json
from typing import Any

from tests.hostile.case import GOOD_CONFIG, HostileCase, good_config, upload

_SLOW = "(" + "a" * 32 + "|aa)+b"
_RAW = {
    "empty": b"",
    "a space": b" ",
    "null": b"null",
    "a list": b"[]",
    "a number": b"8",
    "text": b'"LORA"',
    "true": b"true",
    "cut off": good_config()[:-1],
    "followed by more": good_config() + b"{}",
    "in quotes of one": b"{'r': 8}",
    "with a comment": b'{"r": 8, /* x */ "lora_alpha": 8}',
    "with a last comma": b'{"r": 8, "lora_alpha": 8,}',
    "with a byte order mark": b"\xef\xbb\xbf" + good_config(),
    "in UTF-16": good_config().decode().encode("utf-16"),
    "in UTF-32": good_config().decode().encode("utf-32"),
    "not UTF-8": b'{"r": 8, "lora_alpha": 8, "x": "\xff"}',
    "overlong UTF-8": b'{"r": 8, "lora_alpha": 8, "x": "\xc0\xaf"}',
    "with a lone surrogate": b'{"r": 8, "lora_alpha": 8, "x": "\\ud800"}',
    "with a surrogate key": b'{"r": 8, "lora_alpha": 8, "\\udfff": 1}',
    "with surrogates in UTF-8": b'{"r": 8, "lora_alpha": 8, "x": "\xed\xa0\x80"}',
    "with a NUL": b'{"r": 8, "lora_alpha": 8, "x": "\0"}',
    "with a line break in text": b'{"r": 8, "lora_alpha": 8, "x": "\n"}',
    "with r twice": b'{"r": 8, "r": 8, "lora_alpha": 8}',
    "with r twice by escape": b'{"r": 8, "\\u0072": 64, "lora_alpha": 8}',
    "with a key twice inside": b'{"r": 8, "lora_alpha": 8, "x": {"y": 1, "y": 2}}',
    "NaN alpha": b'{"r": 8, "lora_alpha": NaN}',
    "Infinity alpha": b'{"r": 8, "lora_alpha": Infinity}',
    "-Infinity alpha": b'{"r": 8, "lora_alpha": -Infinity}',
    "NaN elsewhere": b'{"r": 8, "lora_alpha": 8, "lora_dropout": NaN}',
    "1e999 alpha": b'{"r": 8, "lora_alpha": 1e999}',
    "lists 100,000 deep": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects 100,000 deep": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "lists that never close": b'{"x": ' + b"[" * 1_000_000,
    "a number of 10,000 digits": b'{"r": ' + b"9" * 10_000 + b', "lora_alpha": 8}',
    "an alpha of 1,000,000 digits": b'{"r": 8, "lora_alpha": ' + b"9" * 1_000_000 + b"}",
    "zeros": bytes(1 << 20),
    "spaces": b" " * (1 << 20),
    "a pickle": b"cos\nsystem\n(S'id'\ntR.",
    "70,000 keys and no r": json.dumps({str(n): 0 for n in range(70_000)}).encode(),
}
_VALUES: dict[str, tuple[list[Any], str]] = {
    "r": ([None, True, False, "8", 8.0, 8.5, 1e300, [8], {"r": 8}], "config_invalid"),
    "r ": ([0, -8, 1, 7, 9, 128, 1 << 31, 1 << 63, -(1 << 63), 10**400], "rank_unsupported"),
    "lora_alpha": (
        [None, 0, 0.0, -1, -0.5, 1024.1, 1025, 1e300, 10**400, -(10**400), "8", "NaN", [8], True],
        "config_invalid",
    ),
    "rank_pattern": (
        [
            {"q_proj": 4},
            {_SLOW: 8},
            {"(a+)+$": 8},
            {"(?:(?:a*)*)*": 8},
            {"[": 1},
            ["q_proj"],
            "q",
            1,
        ],
        "config_pattern_refused",
    ),
    "alpha_pattern": (
        [{"q_proj": 4}, {_SLOW: 8}, {r"(.*)*\1": 1e300}, {"(": 1}, [["q_proj", 1]], "q", True],
        "config_pattern_refused",
    ),
    "use_dora": ([True, 1, "true", {"x": 1}], "dora_unsupported"),
    "modules_to_save": (
        [["lm_head"], ["embed_tokens", "lm_head"], ["classifier"], "lm_head", {"a": 1}, 1],
        "modules_to_save_unsupported",
    ),
    "bias": (["all", "lora_only", "None", True, ["none"], {}, 0], "bias_unsupported"),
    "lora_bias": ([True, "yes"], "bias_unsupported"),
    "peft_type": (
        [
            None,
            "",
            "lora",
            "IA3",
            "LOHA",
            "XLORA",
            ["LORA"],
            {},
            1,
            "\u202eA",
            "LORA\0",
            "x" * 99_999,
        ],
        "config_unsupported",
    ),
    "layer_replication": ([[[0, 1], [0, 2]], [[0, 10**9]], "all"], "config_unsupported"),
    "target_parameters": ([["experts.down_proj"], "x"], "config_unsupported"),
    "trainable_token_indices": ([[0, 1], {"embed_tokens": [1]}], "config_unsupported"),
    "alora_invocation_tokens": ([[1, 2, 3]], "config_unsupported"),
    "init_lora_weights": (
        [
            "pissa",
            "PiSSA",
            "pissa_niter_16",
            "olora",
            "corda",
            "loftq",
            "../../x",
            ["pissa"],
            {},
            2,
        ],
        "config_unsupported",
    ),
    "use_qalora": ([True], "config_unsupported"),
    "use_bdlora": ([{"nblocks": 2}], "config_unsupported"),
    "arrow_config": ([{"top_k": 3}], "config_unsupported"),
    "use_rslora": (["true", 1, [True], {"x": 1}], "config_invalid"),
    "base_model_name_or_path": ([["tiny"], {"x": 1}, 1, True, False], "config_invalid"),
}


def _with(key: str, value: Any) -> bytes:
    return upload(good_config(**{key.strip(): value}))


CONFIGS = (
    *(
        HostileCase(f"config {name}", "config_invalid", lambda r=raw: upload(r))
        for name, raw in _RAW.items()
    ),
    *(
        HostileCase(
            f"{key.strip()} {json.dumps(value)[:50]} {n}", code, lambda k=key, v=value: _with(k, v)
        )
        for key, (values, code) in _VALUES.items()
        for n, value in enumerate(values)
    ),
    HostileCase(
        "a config without r",
        "config_invalid",
        lambda: upload(json.dumps({k: v for k, v in GOOD_CONFIG.items() if k != "r"}).encode()),
    ),
)

HARMLESS_BASES = (
    "../../../../etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "https://example.com/model",
    "someone/private-model",
    "unsloth/llama-3-8b-bnb-4bit",
    "\u0000\u001b[2J",
    "x" * 100_000,
)
"""Names of base models that are text and nothing else: never opened, never fetched."""
