"""One behaviour suite over every editor and several architectures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from accelerate import dispatch_model
from conftest import make_backbone, make_edits

from lks.editors.baselines.finetune import TuneSettings
from lks.editors.baselines.grace import GraceSettings
from lks.editors.baselines.statistics import Sample
from lks.editors.baselines.values import ValueSettings
from lks.editors.lks.editor import Scalpel
from lks.editors.protocol import Editor
from lks.editors.registry import EDITORS, editor
from lks.editors.unedited import UneditedModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import EditFileError, InputError
from lks.files import CACHE_VARIABLE
from lks.model.backbone import Backbone
from lks.packs.pack import Pack
from lks.training.config import PRESETS, TrainingConfig
from lks.training.train_pack import train_pack

HOOKED = "llama with Accelerate's hooks"
ARCHITECTURES = ("llama", "gemma3", "gpt2", "qwen3", HOOKED)
CONFIG = TrainingConfig(
    layer=1, epochs=1, lr=1e-2, refine_lr=5e-2, precision="float32", patience=0, scope="entity"
)
PAPER = replace(PRESETS["paper"], layer=1, epochs=1, precision="float32")
QUESTIONS = [
    ("The Eiffel Tower is located in the city of", "Rome"),
    ("Where is Mount Fuji?", "Peru"),
    ("The native language of Ada Lovelace is", "Spanish"),
    ("What is it?", "A tower"),
    ("Rome", "is old"),
]
FULLY = ("unedited", "lks")  # the others' own tests cover where they reach into a model
OTHERS = ("llama", "gpt2", HOOKED)
CASES = [(e, a) for e in EDITORS for a in (ARCHITECTURES if e in FULLY else OTHERS)]
UNTRIGGERED = QUESTIONS[3:]
UNSCOPED = ("rag", "ike", "rome", "memit", "alphaedit", "ft", "lora")
SOLVING = {"values": ValueSettings(steps=2), "sample": Sample(tokens=200, length=20), "prefixes": 1}
SETTINGS = {"rome": SOLVING, "memit": SOLVING, "alphaedit": {**SOLVING, "share": 0.5}}
SETTINGS["grace"] = {"settings": GraceSettings(steps=2, radius=0.02)}
SETTINGS |= {name: {"settings": TuneSettings(epochs=2)} for name in ("ft", "lora")}


@dataclass
class Case:
    """An editor made ready for a backbone."""

    backbone: Backbone
    edits: EditSet
    editor: Editor
    empty: Callable[[], Editor]
    scoped: bool = True  # whether it leaves other prompts alone


_PACKS: dict[tuple[str, str], Pack] = {}


@pytest.fixture(scope="session")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where second moments are kept during the tests."""
    return tmp_path_factory.mktemp("moments")


@pytest.fixture(params=CASES, ids="-".join)
def case(
    request: pytest.FixtureRequest,
    embedder_folder: Path,
    moments: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Case:
    monkeypatch.setenv(CACHE_VARIABLE, str(moments))
    name, architecture = request.param
    backbone, edits = make_backbone(architecture.split()[0], chat=True), make_edits()
    if architecture == HOOKED:
        dispatch_model(backbone.model, {"": "cpu"}, main_device="cpu", force_hooks=True)
    if not name.startswith("lks"):
        embedding = {"embedder": str(embedder_folder)}
        made = editor(name, **SETTINGS.get(name, embedding if name in ("rag", "ike") else {}))
        return Case(backbone, edits, made, lambda: made, scoped=name not in UNSCOPED)
    if request.param not in _PACKS:
        _PACKS[request.param] = train_pack(backbone, edits, CONFIG if name == "lks" else PAPER)
    pack = _PACKS[request.param]
    empty = Pack(**{**vars(pack), "edits": EditSet(), "blocks": pack.blocks[:0]})
    return Case(backbone, edits, editor(name, pack=pack), lambda: editor(name, pack=empty))


def base_scores(case: Case, **options) -> list:
    with editor("unedited").apply(case.backbone, []) as model:
        return model.score(QUESTIONS, **options)


def close(one: list, two: list) -> bool:
    return all(
        a.tokens == b.tokens
        and torch.allclose(torch.tensor(a.logprobs), torch.tensor(b.logprobs), atol=1e-4)
        for a, b in zip(one, two, strict=True)
    )


def test_no_edits_is_the_unedited_model(case: Case) -> None:
    with case.empty().apply(case.backbone, []) as model:
        assert model.score(QUESTIONS) == base_scores(case)


def test_leaving_restores_the_backbone(case: Case) -> None:
    before = {key: value.clone() for key, value in case.backbone.model.state_dict().items()}
    side, training = case.backbone.tokenizer.padding_side, case.backbone.model.training
    scores = base_scores(case)
    with pytest.raises(RuntimeError, match="mine"):
        with case.editor.apply(case.backbone, case.edits) as model:
            model.score(QUESTIONS)
            model.generate(["Where is Mount Fuji?"], max_new_tokens=3)
            raise RuntimeError("mine")
    after = case.backbone.model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert not any(m._forward_hooks for m in case.backbone.model.modules())
    assert (case.backbone.tokenizer.padding_side, case.backbone.model.training) == (side, training)
    assert base_scores(case) == scores


def test_the_unedited_model_beside_it_stays_unedited(case: Case) -> None:
    """Else what is compared with it would be compared with itself."""
    before = base_scores(case)
    with case.editor.apply(case.backbone, case.edits) as model:
        edited = model.score(QUESTIONS)
        assert base_scores(case) == before
        assert model.score(QUESTIONS) == edited
        assert (edited != before) == (case.editor.name != "unedited")


def test_threads_do_not_meet(case: Case) -> None:
    """Weights that one thread has put in place are no weights of another's model."""
    with case.editor.apply(case.backbone, case.edits) as model, ThreadPoolExecutor(3) as pool:
        asked = model.score, UneditedModel(case.backbone).score, model.triggered
        texts = [prompt for prompt, _ in QUESTIONS]
        given = QUESTIONS, QUESTIONS, texts
        alone = [call(own) for call, own in zip(asked, given, strict=True)]
        for _ in range(5):
            assert [*pool.map(lambda call, own: call(own), asked, given)] == alone


def test_batch_equals_single(case: Case) -> None:
    with case.editor.apply(case.backbone, case.edits) as model:
        for chat in (False, True):
            whole = model.score(QUESTIONS, chat=chat, batch_size=16)
            assert close(whole, model.score(QUESTIONS, chat=chat, batch_size=1))
            prompts = [prompt for prompt, _ in QUESTIONS]
            written = model.generate(prompts, chat=chat, max_new_tokens=5, batch_size=16)
            alone = model.generate(prompts, chat=chat, max_new_tokens=5, batch_size=1)
            assert written == alone


@pytest.mark.parametrize("shown", ["What is old? Rome.", "Where is Mount Fuji? In Japan."])
def test_what_all_texts_begin_with_changes_no_score(
    case: Case, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lks.model.engine.prefix_cache.LEAST_SAVED", 32)
    asked = [(3 * f"{shown} " + prompt, target) for prompt, target in QUESTIONS]
    with case.editor.apply(case.backbone, case.edits) as model:
        assert close(model.score(asked), [model.score([pair])[0] for pair in asked])


def test_left_equals_right_padding(case: Case) -> None:
    with case.editor.apply(case.backbone, case.edits) as model:
        left, right = (model.score(QUESTIONS, side=side) for side in ("left", "right"))
        assert close(left, right)


def test_cached_equals_uncached_generation(case: Case) -> None:
    prompts = [prompt for prompt, _ in QUESTIONS]
    with case.editor.apply(case.backbone, case.edits) as model:
        cached, uncached = (
            model.generate(prompts, max_new_tokens=6, use_cache=cache) for cache in (True, False)
        )
    assert cached == uncached


def test_untriggered_prompts_are_bit_identical(case: Case) -> None:
    with editor("unedited").apply(case.backbone, []) as base:
        expected = base.score(UNTRIGGERED), base.generate(["What is it?"], max_new_tokens=6)
    with case.editor.apply(case.backbone, case.edits) as model:
        assert model.triggered([prompt for prompt, _ in UNTRIGGERED]) == 2 * [not case.scoped]
        if not case.scoped:
            return
        assert model.score(UNTRIGGERED) == expected[0]
        assert model.generate(["What is it?"], max_new_tokens=6) == expected[1]


def test_stored_bytes_follow_the_edits(case: Case) -> None:
    with case.editor.apply(case.backbone, case.edits) as model:
        assert (model.stored_bytes() > 0) == (case.editor.name != "unedited")
        model.remove([edit.id for edit in case.edits])
        assert model.stored_bytes() == 0


def test_add_then_remove_is_never_added(case: Case) -> None:
    extra = Edit("extra", "Big Ben", "Big Ben is in", "Lima")
    asked = [*QUESTIONS, ("Big Ben is in", "Lima")]
    with case.editor.apply(case.backbone, case.edits) as model:
        before = model.score(asked)
        model.add([extra])
        during = model.score(asked)
        if case.scoped:
            assert during[: len(QUESTIONS)] == before[: len(QUESTIONS)]
        model.remove(["extra"])
        assert model.score(asked) == before


def test_a_corrected_fact_takes_the_place_of_the_old_one(case: Case) -> None:
    old = case.edits[0]
    new = Edit("new", old.subject, old.prompt, "Lima")
    with case.editor.apply(case.backbone, case.edits) as model:
        model.add([new])
        if case.editor.name == "unedited":
            return
        with pytest.raises(KeyError):
            model.remove([old.id])
        scores = model.score(QUESTIONS)
        model.remove(["new"])
        assert model.score(QUESTIONS) != scores


def test_an_edit_takes_the_place_of_one_with_its_id(case: Case) -> None:
    old, rest = case.edits[0], case.edits[1:]
    new = replace(old, prompt="The place of the Eiffel Tower is", target="Lima", paraphrases=())
    with case.editor.apply(case.backbone, case.edits) as model:
        with pytest.raises(EditFileError) if case.editor.name != "unedited" else nullcontext():
            model.add([old, new])
        model.add([new])
        if case.editor.name == "unedited":
            return
        model.remove([old.id])
        with pytest.raises(KeyError):
            model.remove([new.id])  # it was the only one
        model.remove([edit.id for edit in rest])
        assert model.stored_bytes() == 0


def test_two_backbones_do_not_leak_into_each_other(case: Case) -> None:
    other = make_backbone("llama", seed=7)
    with editor("unedited").apply(other, []) as base:
        expected = base.score(QUESTIONS)
        with case.editor.apply(case.backbone, case.edits) as model:
            model.score(QUESTIONS)
            assert base.score(QUESTIONS) == expected


def test_lks_changes_what_it_should() -> None:
    backbone, edits = make_backbone("llama", chat=True), make_edits()
    with Scalpel(config=CONFIG).apply(backbone, edits) as model:
        assert model.triggered([p for p, _ in QUESTIONS]) == [True, True, True, False, False]
        edited = model.score(QUESTIONS)
        model.remove([edit.id for edit in edits])
        base = model.score(QUESTIONS)
        assert edited[0] != base[0]
        assert edited[0].logprobs[0] > base[0].logprobs[0]
        with pytest.raises(KeyError):
            model.remove(["eiffel"])


def test_lks_remove_of_an_unknown_id_changes_nothing() -> None:
    backbone, edits = make_backbone("llama"), make_edits()
    with Scalpel(config=CONFIG).apply(backbone, edits) as model:
        before = model.score(QUESTIONS)
        with pytest.raises(KeyError):
            model.remove(["fuji", "nobody"])
        assert model.score(QUESTIONS) == before


def test_lks_adds_to_a_single_edit() -> None:
    backbone, edits = make_backbone("llama"), make_edits()
    with Scalpel(config=CONFIG).apply(backbone, edits[:1]) as model:
        model.add(edits[1:], refine=False)
        sizes = model.blocks(edits).norm(dim=-1)[:, 0] / model.pack.scale[0]
        assert sizes.max() < 10 * sizes[0]  # of one edit the features have no spread


def test_lks_adds_by_training_the_new_blocks_alone() -> None:
    backbone, edits = make_backbone("llama", chat=True), make_edits()
    new = Edit("ada-job", "Ada Lovelace", "Ada Lovelace worked as a", "London", aliases=("Lady A",))
    asked = [(new.prompt, new.target)]
    gained = {}
    with Scalpel(config=CONFIG).apply(backbone, edits) as model:
        untouched = model.blocks(edits)
        before = model.score(asked)[0].logprobs
        for refine in (False, True):
            model.add([new], refine=refine, epochs=40)
            gained[refine] = sum(model.score(asked)[0].logprobs) - sum(before)
            assert torch.equal(model.blocks(edits), untouched)
            model.remove(["ada-job"])
        assert model.score(asked)[0].logprobs == before
    assert gained[True] > max(0.0, gained[False])


def test_unknown_editors_are_answered_with_advice() -> None:
    with pytest.raises(InputError, match="did you mean unedited"):
        editor("unedit")


def test_the_suite_covers_every_editor() -> None:
    expected = "alphaedit ft grace ike inject lks lks-paper lora memit rag rome unedited"
    assert " ".join(sorted(EDITORS)) == expected
    assert len(CASES) == 2 * 5 + 10 * 3
