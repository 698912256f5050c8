"""The larger models by name, where a machine has them: LKS_TEST_MODELS=1, and a filled cache."""

from __future__ import annotations

import os

import pytest
import torch

from lks.editors.unedited import UneditedModel
from lks.files import cache_dir
from lks.model.backbone import Backbone

NAMES = ("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
TEXTS = (
    "Hello world 12345",
    "def f(x):\n    if x:\n\t\treturn  x\n\n\n  # ok",
    "日本語のテキストと한국어, русский, العربية, हिन्दी 👩‍👩‍👧‍👦",
    "<|im_start|>user\nhi<|im_end|>\n<tool_call>{}</tool_call><|fim_prefix|>",
)

pytestmark = pytest.mark.skipif(
    "LKS_TEST_MODELS" not in os.environ, reason="needs LKS_TEST_MODELS, and gigabytes"
)


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> Backbone:
    if not (cache_dir() / request.param).is_dir():
        pytest.skip(f"{request.param} is not in the cache")
    return Backbone.load(request.param, device="cpu", dtype="bfloat16")


def test_text_is_split_as_the_model_learnt_it(model: Backbone) -> None:
    tokens = model.tokenizer
    assert tokens("Hello world").input_ids == [9707, 1879]
    assert tokens("1234").input_ids == [16, 17, 18, 19]
    assert tokens("<|im_end|>").input_ids == [151645]
    assert tokens("e\u0301").input_ids == tokens("\u00e9").input_ids
    assert [tokens.decode(tokens(text).input_ids) for text in TEXTS] == [*TEXTS]
    assert set(model.stop_ids) == {151645, 151643}


def test_it_knows_and_reckons(model: Backbone) -> None:
    asked = ("What is the capital of France?", "What is 17 + 25?", "Who wrote Hamlet?")
    with torch.no_grad():
        said = UneditedModel(model).generate([*asked], max_new_tokens=16, chat=True)
    for answer, wanted in zip(said, ("Paris", "42", "Shakespeare"), strict=True):
        assert wanted in answer
    assert "You are Qwen" in model.render(asked[0], chat=True).text
