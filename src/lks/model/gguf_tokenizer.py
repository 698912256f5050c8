"""The tokenizer of a GGUF file, which splits text by the rule that the file names."""

from __future__ import annotations

import json
from pathlib import Path

from lks.errors import ModelError
from lks.json_record import JsonObject
from lks.model.gguf_reader import Reader, told

# Rules by which byte-level tokenizers split text before they merge, by GGUF's names. transformers
# knows others; where it knows none it splits as GPT-2 does, and tells nobody.
AS_GPT2 = ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "gigachat", "mellum", "a.x-4.0")
DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
# What no file tells of tokenizers with these rules:
COMPOSED = ("qwen2", "qwen35")  # they read Unicode in its composed form
WHOLE_WORDS = ("llama3", "llama-v3", "llama-bpe", "tekken")  # a word with a token is not merged
BEGUN = ("llama3", "llama-v3", "llama-bpe")  # a text begins with its token, unless the file says no

GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}


def write_tokenizer(place: JsonObject, reader: Reader, folder: Path, name: str) -> None:
    """Write what transformers makes of a file as tokenizer.json and its settings.

    Args:
        place: what transformers takes for the file.

    Raises:
        ModelError: there is none in the file, or it is not known how it splits text.
    """
    tokens = told(reader, "tokenizer.ggml.tokens")
    if tokens is None:
        raise ModelError(
            f"{name}: has no tokenizer in it; give the folder or the hub id of the original model"
        )
    from transformers import PreTrainedTokenizerFast

    rule = told(reader, "tokenizer.ggml.pre")
    begun = {"add_bos_token": True} if rule in BEGUN else {}  # the file's own word goes first
    tokenizer = PreTrainedTokenizerFast.from_pretrained(**place, **begun)
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    if told(reader, "tokenizer.ggml.model") == "gpt2":
        _follow(rule, content, name)
    # transformers adds GPT-2's end-of-text to files that have none, behind the model's embeddings
    content["added_tokens"] = [t for t in content["added_tokens"] if t["id"] < len(tokens)]
    _strip(content)
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    architecture = told(reader, "general.architecture")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **tokenizer.special_tokens_map,
        "model_max_length": told(reader, f"{architecture}.context_length"),
        "clean_up_tokenization_spaces": False,
        "chat_template": told(reader, "tokenizer.chat_template"),
    }
    known = {key: value for key, value in settings.items() if value is not None}
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(known, indent=2), encoding="utf-8")


def _follow(rule: str | None, content: JsonObject, name: str) -> None:
    """Let a byte-level tokenizer, as JSON, split text by a rule."""
    if content["pre_tokenizer"] == GPT2:
        if rule in DIGITS_APART:
            content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [DIGITS, GPT2]}
        elif rule not in AS_GPT2:
            raise ModelError(
                f"{name}: splits text into tokens by a rule that is not known here "
                f"({rule or 'none is named'}); give the folder or the hub id of the original model"
            )
    if rule in COMPOSED:
        content["normalizer"] = {"type": "NFC"}
    if rule in WHOLE_WORDS:
        content["model"]["ignore_merges"] = True


def _strip(content: JsonObject) -> None:
    """Leave out what does nothing: a tokenizer's fingerprint is taken from how it is written."""
    model, last = content["model"], content["post_processor"]
    for affix in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(affix) == "":
            model[affix] = None
    if last and last["type"] == "TemplateProcessing" and not last["special_tokens"]:
        content["post_processor"] = None
