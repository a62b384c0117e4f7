"""The JSON files of a Hugging Face Whisper directory, as transformers and vLLM read them.

Sizes come from the weights, ids from the tokenizer and from what CTranslate2 keeps beside them;
what no file of the source says is the same for every multilingual Whisper.
"""

from typing import Any

from deploy.quickstart.ctranslate2_file import Arrays

Json = dict[str, Any]

END, START = "<|endoftext|>", "<|startoftranscript|>"
TRANSCRIBE, TRANSLATE = "<|transcribe|>", "<|translate|>"
PREVIOUS, NO_TIMESTAMPS = "<|startofprev|>", "<|notimestamps|>"
SAMPLING_RATE = 16_000
HOP_LENGTH = 160
WINDOW_SECONDS = 30
# Timestamps stand in steps of 0.02 s, from the start of the window to its end.
TIMESTAMPS_PER_SECOND = 50


def model_config(arrays: Arrays, tokenizer: Json) -> Json:
    """Return `config.json` for the arrays of a CTranslate2 model in float16."""
    ids = token_ids(tokenizer)
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "dtype": "float16",
        "activation_function": "gelu",
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "vocab_size": arrays["decoder/embeddings/weight"].shape[0],
        "d_model": arrays["decoder/embeddings/weight"].shape[1],
        "num_mel_bins": arrays["encoder/conv1/weight"].shape[1],
        "max_source_positions": arrays["encoder/position_encodings/encodings"].shape[0],
        "max_target_positions": arrays["decoder/position_encodings/encodings"].shape[0],
        **_side(arrays, "encoder"),
        **_side(arrays, "decoder"),
        "num_hidden_layers": _layers(arrays, "encoder"),
        "decoder_start_token_id": ids[START],
        "bos_token_id": ids[END],
        "eos_token_id": ids[END],
        "pad_token_id": ids[END],
    }


def _side(arrays: Arrays, side: str) -> Json:
    return {
        f"{side}_layers": _layers(arrays, side),
        f"{side}_attention_heads": int(arrays[f"{side}/num_heads"]),
        f"{side}_ffn_dim": arrays[f"{side}/layer_0/ffn/linear_0/weight"].shape[0],
    }


def _layers(arrays: Arrays, side: str) -> int:
    names = (name.split("/") for name in arrays if name.startswith(f"{side}/layer_"))
    return len({parts[1] for parts in names if parts[1] != "layer_norm"})


def generation_config(kept: Json, tokenizer: Json, max_length: int) -> Json:
    """Return `generation_config.json`; `kept` is the `config.json` beside a CTranslate2 model."""
    ids = token_ids(tokenizer)
    contents = {number: content for content, number in ids.items()}
    return {
        "alignment_heads": kept["alignment_heads"],
        "begin_suppress_tokens": kept["suppress_ids_begin"],
        "bos_token_id": ids[END],
        "decoder_start_token_id": ids[START],
        "eos_token_id": ids[END],
        "forced_decoder_ids": [[1, None], [2, ids[TRANSCRIBE]]],
        "is_multilingual": True,
        "lang_to_id": {contents[number]: number for number in kept["lang_ids"]},
        "max_initial_timestamp_index": 50,
        "max_length": max_length,
        "no_timestamps_token_id": ids[NO_TIMESTAMPS],
        "pad_token_id": ids[END],
        "prev_sot_token_id": ids[PREVIOUS],
        "return_timestamps": False,
        "suppress_tokens": kept["suppress_ids"],
        "task_to_id": {"transcribe": ids[TRANSCRIBE], "translate": ids[TRANSLATE]},
    }


def preprocessor_config(mel_bins: int) -> Json:
    """Return `preprocessor_config.json`: log-mel spectra of windows of 30 s, in steps of 10 ms."""
    return {
        "chunk_length": WINDOW_SECONDS,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": mel_bins,
        "hop_length": HOP_LENGTH,
        "n_fft": 400,
        "n_samples": WINDOW_SECONDS * SAMPLING_RATE,
        "nb_max_frames": WINDOW_SECONDS * SAMPLING_RATE // HOP_LENGTH,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": SAMPLING_RATE,
    }


def tokenizer_config(tokenizer: Json) -> Json:
    """Return `tokenizer_config.json`; special tokens stay in the order of their ids."""
    special = [token["content"] for token in tokenizer["added_tokens"] if token["special"]]
    return {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "add_prefix_space": False,
        "additional_special_tokens": special,
        "bos_token": END,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "errors": "replace",
        "model_max_length": 1024,
        "pad_token": END,
        "return_attention_mask": False,
        "unk_token": END,
    }


def with_timestamps(tokenizer: Json) -> Json:
    """Return `tokenizer.json` with the timestamps `<|0.00|>` to `<|30.00|>` behind its last token.

    They are no special tokens: transformers takes the last special one to come before them.
    """
    first = max(token_ids(tokenizer).values()) + 1
    count = WINDOW_SECONDS * TIMESTAMPS_PER_SECOND + 1
    timestamps = [
        _token(first + step, f"<|{step / TIMESTAMPS_PER_SECOND:.2f}|>") for step in range(count)
    ]
    return {**tokenizer, "added_tokens": [*tokenizer["added_tokens"], *timestamps]}


def token_ids(tokenizer: Json) -> dict[str, int]:
    """Return the ids of the tokens that were added to the vocabulary."""
    return {token["content"]: token["id"] for token in tokenizer["added_tokens"]}


def _token(number: int, content: str) -> Json:
    sides = {"single_word": False, "lstrip": False, "rstrip": False}
    return {"id": number, "content": content, **sides, "normalized": True, "special": False}
