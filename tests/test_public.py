"""What the package promises about itself: names, errors, docs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from conftest import make_backbone
from torch import nn

import lks
from lks import errors
from lks.errors import LayerError, LKSError, ModelError
from lks.model.backbone import Backbone

ROOT = Path(__file__).parent.parent
CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, LKSError)]


def test_public_names_are_sorted_and_there() -> None:
    assert sorted(lks.__all__) == lks.__all__
    assert set(lks.__all__) == set(lks._HOMES)
    for name in lks.__all__:
        assert getattr(lks, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        _ = lks.nothing


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"^ {4}([│├└─ ]*)(\w+) ", errors.__doc__ or "", re.MULTILINE)
    parents: list[type] = []
    for indent, name in drawn:
        error, depth = getattr(errors, name), len(indent) // 4
        assert issubclass(error, tuple(parents[depth - 1 : depth]) or (Exception,)), name
        parents[depth:] = [error]
    assert {name for _, name in drawn} == {c.__name__ for c in CLASSES}
    assert len(CLASSES) == 19


def test_every_error_has_a_cause_and_a_fix_in_the_docs() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    for error in CLASSES:
        assert f"`{error.__name__}`" in page


def test_docs_name_every_public_name() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in lks.__all__)


def test_documents_hold_no_machine_and_no_registry() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/**/*.md")]
    assert len(pages) >= 28
    for page in pages:
        assert not re.search(r"/(home|root|work)/|index-url|pypi\.org", page.read_text("utf-8")), (
            page
        )


def test_files_stay_short() -> None:
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py")]
    assert len(files) > 30
    assert {f.name: n for f in files if (n := len(f.read_text("utf-8").splitlines())) > 420} == {}


def test_unusable_models_are_explained() -> None:
    backbone = make_backbone("llama")
    with pytest.raises(LayerError, match="not found for architecture Linear"):
        odd = nn.Linear(2, 2)
        Backbone(odd, backbone.tokenizer)
    with pytest.raises(ModelError, match="no offsets"):
        Backbone(backbone.model, object())
    with pytest.raises(ModelError, match="has no chat template"):
        backbone.render("x", chat=True)


def test_layers_path_can_be_given() -> None:
    backbone = make_backbone("gpt2")
    again = Backbone(backbone.model, backbone.tokenizer, layers_path="transformer.h")
    assert again.layer(3) is backbone.layer(3)


@pytest.mark.parametrize("bos", [False, True])
def test_bos_is_known_not_guessed(bos: bool) -> None:
    assert make_backbone("llama", bos=bos).adds_bos is bos


def test_prompt_and_target_are_tokenised_together() -> None:
    backbone = make_backbone("llama")
    for prompt, own in (("Ada was born in", " Oslo"), ("Ada was born in ", "Oslo"), ("", "Oslo")):
        for target in ("Oslo", "Oslo "):
            joined, end = backbone.join(prompt, target, chat=False)
            assert (joined.text[:end], joined.text[end:]) == (prompt, own)
    joined, end = backbone.join("Ada was born in", "\nOslo", chat=False)
    assert joined.text[end:] == "\nOslo"
