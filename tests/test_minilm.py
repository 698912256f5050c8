"""The embedder of earlier packs against the libraries whose place it takes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as tf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lks.model import minilm
from lks.model.embedder import Embedder
from lks.model.minilm import MiniLM

WORDS = [
    "who",
    "where",
    "was",
    "is",
    "the",
    "of",
    "in",
    "a",
    "tower",
    "bridge",
    "born",
    "built",
    "owner",
]
TEXTS = [
    "Who built the bridge?",
    "",
    "a",
    "where was the owner of the tower born " * 40,
    "Zebra is",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random BERT with as many heads and layers, as the packaged model lies there."""
    tokenizer = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate([*SPECIAL, *WORDS, "?"])}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=128)  # the packaged file asks for both
    tokenizer.enable_truncation(128)
    torch.manual_seed(0)
    config = tf.BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=48, intermediate_size=96,
        num_hidden_layers=minilm.LAYERS, num_attention_heads=minilm.HEADS,
        initializer_range=0.5, layer_norm_eps=1e-12,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("minilm")
    tf.BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _reference(folder: Path, text: str) -> np.ndarray:
    """transformers' own BERT, one text at a time, the mean over its tokens."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(minilm.LONGEST)
    with torch.no_grad():
        bert = tf.BertModel.from_pretrained(folder).eval()
        states = bert(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
    return torch.nn.functional.normalize(states.mean(0), dim=0).numpy()


def test_vectors_are_those_of_bert(folder: Path) -> None:
    found = MiniLM(folder).encode(TEXTS)
    assert found.dtype == np.float32
    for vector, text in zip(found, TEXTS, strict=True):
        assert np.abs(vector - _reference(folder, text)).max() < 1e-5


def test_many_texts_are_read_as_one_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, texts = MiniLM(folder), TEXTS * 3
    alone = np.concatenate([model.encode([text]) for text in texts])
    for tokens in (1, 40, 10**6):
        monkeypatch.setattr(minilm, "TOKENS_AT_ONCE", tokens)
        assert np.abs(model.encode(texts) - alone).max() < 1e-5


def test_the_fingerprint_is_that_of_earlier_packs(folder: Path) -> None:
    digest = hashlib.sha256()
    for key, tensor in sorted(tf.BertModel.from_pretrained(folder).state_dict().items()):
        digest.update(f"0.model.{key}{tuple(tensor.shape)}".encode())
        flat = tensor.reshape(-1)
        digest.update(flat[:: max(1, flat.numel() // 1024)].numpy().tobytes())
    assert MiniLM(folder).fingerprint == digest.hexdigest()


def test_gelu_is_exact_enough() -> None:
    x = np.linspace(-9, 9, 40_001, dtype=np.float32)
    exact = torch.nn.functional.gelu(torch.from_numpy(x.astype(np.float64))).numpy()
    assert np.abs(minilm._gelu(x.copy()) - exact).max() < 1e-6


@pytest.mark.real
def test_the_packaged_model_is_read_as_sentence_transformers_does() -> None:
    from sentence_transformers import SentenceTransformer

    from lks.model import hub

    texts = [
        "Where is the Eiffel Tower?",
        "It is located in",
        "",
        "東京 Ünïcödé 안녕",
        "a b " * 400,
    ]
    own, model = Embedder("minilm"), SentenceTransformer(str(hub.fetch("minilm")), device="cpu")
    theirs = model.encode(texts, normalize_embeddings=True)
    assert (own(texts) * theirs).sum(1).min() > 0.999999
    assert own.fingerprint == "da8d69be91bccd01179fa41b0372d7bee105f4d75f4ffa4f219f09449bfba974"
