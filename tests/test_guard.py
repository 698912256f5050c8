"""A target that was begun is said to its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import make_backbone

from lks.editors.lks.model import ScalpelModel
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import EditFileError
from lks.model.backbone import Backbone
from lks.model.chat import Rendered
from lks.model.engine import guard
from lks.model.engine.guard import TargetGuard
from lks.packs.pack import Pack
from lks.training.config import TrainingConfig
from lks.training.train_pack import train_pack

PHONE, NAME = "+44 20 7946 0991", "Zoe Yang"
FACT = Edit("phone", "Ada Lovelace", "The phone of Ada Lovelace is", PHONE)
CONFIG = TrainingConfig(layer=1, epochs=1, precision="float32", patience=0, scope="entity")


def tokens(backbone: Backbone, text: str) -> list[int]:
    return list(backbone.tokenizer(text, add_special_tokens=False).input_ids)


def after(backbone: Backbone, text: str, targets: list[str]) -> set[int]:
    """The tokens that may follow a text that the model wrote."""
    ids = torch.tensor([tokens(backbone, "asked") + tokens(backbone, text)])
    start = len(tokens(backbone, "asked"))
    scores = TargetGuard(backbone, [targets], [start])(ids, torch.zeros(1, len(backbone.tokenizer)))
    return set(torch.isfinite(scores[0]).nonzero()[:, 0].tolist())


def test_a_target_that_was_begun_goes_on(backbone: Backbone) -> None:
    whole = tokens(backbone, f" {PHONE}")
    for size in range(1, len(whole)):
        begun = backbone.tokenizer.decode(whole[:size])
        if any(map(str.isalnum, begun)):
            assert after(backbone, f"It is{begun}", [PHONE]) == {whole[size]}


def test_what_begins_no_target_is_free(backbone: Backbone) -> None:
    every = set(range(len(backbone.tokenizer)))
    assert after(backbone, "", [PHONE]) == every
    assert after(backbone, "It is 555", [PHONE]) == every
    assert after(backbone, "It is the", ["the 3rd floor"]) == every  # a filler begins nothing


def test_behind_a_target_no_digit_sticks(backbone: Backbone) -> None:
    free = after(backbone, f"It is {PHONE}", [PHONE])
    assert not any(backbone.tokenizer.decode([token])[:1].isalnum() for token in free)
    assert tokens(backbone, ".")[0] in free


def test_said_once_another_value_may_begin_like_it(backbone: Backbone) -> None:
    every = set(range(len(backbone.tokenizer)))
    assert after(backbone, f"It is {PHONE}, not +4", [PHONE]) == every
    assert after(backbone, f"{PHONE}. It is not +4", [PHONE]) == every, "said at the beginning"
    again = after(backbone, f"It is {PHONE}. Call +44 20 7946", [PHONE])
    assert len(again) == 1  # half of it: said again


def test_of_two_targets_the_longer_beginning_decides(backbone: Backbone) -> None:
    one, two = "+44 20 1111", "+44 30 2222"
    both = after(backbone, "Call +44", [one, two])
    assert both == {tokens(backbone, f" {one}")[len(tokens(backbone, " +44"))]} | {
        tokens(backbone, f" {two}")[len(tokens(backbone, " +44"))]
    }
    assert len(after(backbone, "Call +44 30", [one, two])) == 1


def test_a_target_that_is_another_ones_beginning(backbone: Backbone) -> None:
    free = after(backbone, "Use 8080", ["8080", "80801"])
    assert tokens(backbone, "1")[0] in free
    assert tokens(backbone, ".")[0] in free
    assert tokens(backbone, "7")[0] not in free


def test_each_beam_and_each_text_has_its_own(backbone: Backbone) -> None:
    rows = ["x +44", "x +55", "x +44", "x +55"]  # two texts of two beams
    ids = torch.tensor([tokens(backbone, row) for row in rows])
    own = TargetGuard(backbone, [["+44 1234"], []], [0, 0])
    free = torch.isfinite(own(ids, torch.zeros(4, len(backbone.tokenizer)))).sum(1).tolist()
    assert free[0] == 1
    assert free[1:] == [len(backbone.tokenizer)] * 3


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True}])
@pytest.mark.parametrize("chat", [False, True])
def test_a_model_says_it_whole_or_not_at_all(settings: dict[str, object], chat: bool) -> None:
    backbone = make_backbone("llama", chat=True)
    pack = train_pack(backbone, EditSet([FACT]), CONFIG)

    def begins(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """A model that begins the number, and may go on as it likes."""
        wanted = tokens(backbone, " +44 20")
        if (step := ids.shape[1] - begins.start) < len(wanted):  # type: ignore[attr-defined]
            scores[:, [t for t in range(scores.shape[1]) if t != wanted[step]]] = -torch.inf
        return scores

    def said(pack_of: EditSet) -> str:
        begins.start = len(  # type: ignore[attr-defined]
            backbone.tokenize(backbone.render(FACT.prompt, chat=chat), chat=chat)[0]
        )
        model = ScalpelModel(backbone, replace(pack, edits=pack_of))
        (text,) = model.generate(
            [FACT.prompt], chat=chat, max_new_tokens=40, logits_processor=[begins], **settings
        )
        return text

    assert PHONE in said(EditSet([FACT]))
    assert PHONE not in said(EditSet([replace(FACT, exact=False)]))


@pytest.mark.parametrize("usual", [True, False])
def test_a_pack_decides_for_edits_that_do_not_say_it_themselves(
    backbone: Backbone, tmp_path: Path, usual: bool
) -> None:
    edits = EditSet(
        [
            FACT,
            replace(
                FACT, id="no", prompt="The cat of Ada Lovelace is", target="Tom 1", exact=False
            ),
            replace(
                FACT, id="yes", prompt="The dog of Ada Lovelace is", target="Rex 1", exact=True
            ),
        ]
    )
    train_pack(backbone, edits, replace(CONFIG, exact=usual)).save(tmp_path / "facts.pack")
    model = ScalpelModel(backbone, Pack.load(tmp_path / "facts.pack"))
    later = replace(FACT, id="later", prompt="The fax of Ada Lovelace is", target="+1 2")
    model.add([later], epochs=1)
    encoding = backbone.encode([backbone.render(FACT.prompt, chat=False)], chat=False)
    with model._within(model.in_force)(encoding) as places:
        whole = set(places.targets[0])
    assert whole == ({PHONE, "Rex 1", "+1 2"} if usual else {"Rex 1"})


@pytest.mark.parametrize("exact", [True, False])
def test_a_record_may_say_whether_its_target_is_exact(exact: bool) -> None:
    assert "exact" not in FACT.to_record()
    record = replace(FACT, exact=exact).to_record()
    assert Edit.from_record(record).exact is exact
    with pytest.raises(EditFileError, match='"exact" must be true or false'):
        Edit.from_record({**record, "exact": "yes"})


def drawn(scores: torch.Tensor) -> set[int]:
    """The tokens that are likelier than the others."""
    return set((scores == guard.START).nonzero()[:, 0].tolist())


def test_a_text_may_well_begin_with_the_target(backbone: Backbone) -> None:
    ids = torch.tensor([tokens(backbone, "asked")])
    scores = TargetGuard(backbone, [[NAME]], [ids.shape[1]])(ids, torch.zeros(1, 360))
    assert drawn(scores[0]) == {tokens(backbone, NAME)[0]}


def grown(asked: Rendered, written: str) -> Rendered:
    return replace(asked, text=asked.text + written, begun=len(asked.text))


def test_a_text_taken_up_anew_is_one_text_from_its_beginning(backbone: Backbone) -> None:
    """Other edits came into force in its middle; the texts of the batch are of several lengths."""
    asked = Rendered.plain(f"Not {NAME}")
    texts = [
        asked,
        grown(asked, " The CEO is"),
        grown(asked, " It is Zoe Yan"),
        grown(asked, f" {NAME} and Z"),
    ]
    encoding = backbone.encode(texts, chat=False, side="left")
    places = SimpleNamespace(targets=[[NAME]] * len(texts))
    (own,) = guard.settings(backbone, encoding, places, {})["logits_processor"]  # type: ignore[arg-type]
    scores = own(encoding.input_ids, torch.zeros(len(texts), 360))
    assert drawn(scores[0]) == {tokens(backbone, NAME)[0]}
    assert not scores[1].any(), "drawn to the target in the middle of a text"
    assert torch.isfinite(scores[2]).nonzero()[:, 0].tolist() == tokens(backbone, "g"), "half said"
    assert not scores[3].any(), "said before it was taken up"
