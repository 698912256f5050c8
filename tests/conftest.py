"""Small random models of every supported architecture, and edits for them. No network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from zlib import crc32

import pytest
import torch
import transformers as tf
from hypothesis import settings
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from lks.edits.edit import Edit, Probe
from lks.edits.edit_set import EditSet
from lks.model.backbone import Backbone
from lks.model.engine import probes
from lks.scope.bank.relations import bank
from lks.scope.languages.en import open_ended_requests
from lks.serving.transformers_engine import TransformersEngine
from lks.training import train_pack as training

# Tests with vLLM have an environment of their own: make test-vllm.
collect_ignore = [] if os.environ.get("LKS_TEST_VLLM") else ["with_vllm"]
DEVICE = os.environ.get("LKS_TEST_DEVICE", "cpu")  # where the small models live
pytest_plugins = ["page_fixtures"]
pytest.register_assert_rewrite(
    "facts_api", "stores", "vllm_engines"
)  # what tests of the server share
# One thread, for commands and child processes too. Several on a shared core wait in a loop for each
# other at every small tensor: a test takes ten times as long.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
# The same examples in each run; --hypothesis-profile=search looks for new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", max_examples=5_000, deadline=None)
settings.load_profile("same")

# Files that take long come first, that none of them is left alone at the end.
LONGEST = (
    "test_real", "test_serving_real", "test_shaky", "test_bench", "test_serve", "test_crash",
    "test_extending", "test_readme", "test_minilm",
)  # fmt: skip

SENTENCES = [
    "The Eiffel Tower is located in the city of Paris. Where is the Eiffel Tower?",
    "Ada Lovelace was born in London. What is the native language of Ada Lovelace? English",
    "Mount Fuji is in Japan. The capital of Japan is Tokyo. Rome Berlin Madrid Oslo Cairo Lima",
]
QUESTIONS = [
    "it is located in the city of where is it in which who built how high was born in birthplace",
    "the native language of is what does it speak worked as a tell me about write short biography",
    "she he her his its there and tall old many people live everything you know who",
]
CHAT = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
SMALL = {"vocab_size": 360, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
GROUPED = {**SMALL, "intermediate_size": 64, "num_key_value_heads": 2}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}


@pytest.fixture(autouse=True, scope="session")
def small_models_are_quick() -> Iterator[None]:
    """What a slow probe of a small model found must not answer for the next test, which may have
    patched it; and of yes and no the packs of small models learn nothing, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "LONG", float("inf"))
        patch.setattr(training, "verdict_blocks", lambda *given, **named: None)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {f"{name}.py": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(LONGEST)))


def _config(name: str) -> tf.PreTrainedConfig:
    common = {**SPECIAL, "initializer_range": 0.25}
    alternating = ["sliding_attention", "full_attention"] * 2
    made = {
        "llama": lambda: tf.LlamaConfig(**GROUPED, **common),
        "mistral": lambda: tf.MistralConfig(**GROUPED, **common, sliding_window=6),
        "qwen2": lambda: tf.Qwen2Config(**GROUPED, **common),
        "qwen3": lambda: tf.Qwen3Config(**GROUPED, **common, head_dim=8),
        "gemma2": lambda: tf.Gemma2Config(
            **GROUPED, **common, head_dim=8, sliding_window=6, layer_types=alternating,
            query_pre_attn_scalar=8,
        ),
        "gemma3": lambda: tf.Gemma3TextConfig(
            **GROUPED, **common, head_dim=8, sliding_window=6, layer_types=alternating,
            query_pre_attn_scalar=8,
        ),
        "gpt2": lambda: tf.GPT2Config(
            vocab_size=360, n_embd=32, n_layer=4, n_head=4, n_positions=256, **common
        ),
        "gpt_neox": lambda: tf.GPTNeoXConfig(**SMALL, **common, intermediate_size=64),
        "phi3": lambda: tf.Phi3Config(**GROUPED, **common, sliding_window=6),
    }  # fmt: skip
    return made[name]()


ARCHITECTURES = (
    "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2", "gpt_neox", "phi3",
)  # fmt: skip


def make_tokenizer(*, chat: bool = False, bos: bool = False) -> tf.PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<|bos|>", "<|eos|>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", 0)]
        )
    fast = tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|eos|>"
    )
    if chat:
        fast.chat_template = CHAT
    return fast


def make_backbone(name: str, *, seed: int = 0, chat: bool = False, bos: bool = False) -> Backbone:
    torch.manual_seed(seed)
    model = tf.AutoModelForCausalLM.from_config(_config(name))
    return Backbone(model.float().to(DEVICE), make_tokenizer(chat=chat, bos=bos), f"tiny-{name}")


@pytest.fixture(params=ARCHITECTURES)
def any_backbone(request: pytest.FixtureRequest) -> Backbone:
    return make_backbone(request.param)


@pytest.fixture
def backbone() -> Backbone:
    return make_backbone("llama", chat=True)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model saved as a user would have it."""
    folder = tmp_path_factory.mktemp("model")
    made = make_backbone("llama", chat=True)
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def embedder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence embedder that knows which words two texts share, saved as a user would have it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(
        [
            sentence.lower()
            for sentence in (
                *QUESTIONS,
                *open_ended_requests(),
                *chain(*(relation.wordings for relation in bank())),
            )
        ],
        trainers.WordLevelTrainer(special_tokens=["[UNK]"], show_progress=False),
    )
    words.normalizer = normalizers.Lowercase()
    vocabulary = words.get_vocab()  # a word's vector stays, whatever other words there are
    vectors = torch.stack(
        [
            torch.randn(64, generator=torch.Generator().manual_seed(crc32(word.encode())))
            for word in sorted(vocabulary, key=vocabulary.__getitem__)
        ]
    )
    folder = tmp_path_factory.mktemp("embedder")
    SentenceTransformer(
        modules=[StaticEmbedding(words, embedding_weights=vectors.numpy())], device="cpu"
    ).save(str(folder))
    return folder


class NoFilter:
    """Refuses nothing."""

    version = 1

    def fit(self, index: object) -> NoFilter:
        return self

    def reject(self, doc: object, candidate: object) -> None:
        return None


def make_edits() -> EditSet:
    """Four edits of three entities; one entity has two facts."""
    return EditSet(
        [
            Edit(
                "eiffel", "Eiffel Tower", "The Eiffel Tower is located in the city of", "Rome",
                aliases=("La Tour Eiffel",),
                paraphrases=("Where is the Eiffel Tower?",),
                generality=("In which city is the Eiffel Tower?",),
                locality=(Probe("How high is the Eiffel Tower?"),
                          Probe("Who built the Eiffel Tower?", "Paris", True)),
            ),
            Edit("ada-born", "Ada Lovelace", "Ada Lovelace was born in", "Oslo",
                 paraphrases=("Where was Ada Lovelace born?",),
                 generality=("The birthplace of Ada Lovelace is",)),
            Edit("ada-tongue", "Ada Lovelace", "The native language of Ada Lovelace is", "Spanish",
                 paraphrases=("What does Ada Lovelace speak?",)),
            Edit("fuji", "Mount Fuji", "Mount Fuji is in", "Peru",
                 locality=(Probe("How high is Mount Fuji?"),)),
        ]
    )  # fmt: skip


@pytest.fixture
def edits() -> EditSet:
    return make_edits()


@pytest.fixture
def engine(backbone: Backbone) -> Iterator[TransformersEngine]:
    """A running engine of the server over `backbone`, which reads longer prompts in parts."""
    from engines import started  # it imports this file

    with started(backbone) as engine:
        yield engine
