"""vLLM writes what transformers writes with the hook, whatever is written beside it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from engines import ASKED, GREEDY, Taken, asked, likely, tokens, with_stops, written
from vllm_engines import ROWS, VllmEngine, pack_of, running

from lks.editors.lks.model import ScalpelModel
from lks.editors.unedited import UneditedModel
from lks.errors import InputError, LKSError
from lks.model.backbone import Backbone
from lks.serving.protocol import EngineFailure, EngineRequest, Load
from lks.serving.vllm import rows as rows_module

pytest_plugins = "vllm_engines"
MOST = 12
LONG = "Where is the Eiffel Tower? " + "How high is it? " * 20  # fills blocks of the prefix cache
LATE = "How high is it? " * 20 + "Mount Fuji"
Whose = ScalpelModel | Backbone
Case = tuple[Whose, str, bool]


def models(wide: Backbone) -> list[ScalpelModel]:
    """Two versions of the same facts, one of which is put in behind another layer."""
    packs = pack_of(wide, 0), pack_of(wide, 1, layer=2, form="replace")
    return [ScalpelModel(wide, pack) for pack in packs]


def mixed(wide: Backbone) -> list[Case]:
    """More than 64: edited by two versions and unedited, short and long, plain and in a chat."""
    one, two = models(wide)
    prompts = *ASKED, LATE, LONG, "Ada Lovelace speaks"
    cases: list[Case] = [
        (whose, p, chat) for p in prompts for chat in (False, True) for whose in (one, two, wide)
    ]
    assert len(cases) > 64
    return cases


def expected(cases: Sequence[Case], most: int = MOST) -> list[str]:
    """What transformers writes for each alone, with the hook."""
    wide = next(whose for whose, _, _ in cases if isinstance(whose, Backbone))
    return [
        (UneditedModel(wide) if isinstance(whose, Backbone) else whose)
        .respond([prompt], chat=chat, max_new_tokens=most)[0]
        .whole
        for whose, prompt, chat in cases
    ]


def requests(cases: Sequence[Case], wide: Backbone, most: int = MOST) -> list[EngineRequest]:
    sampling = replace(with_stops(wide), max_tokens=most)
    return [asked(whose, prompt, sampling, chat=chat) for whose, prompt, chat in cases]


def texts(vllm: VllmEngine, asked_for: Sequence[EngineRequest], wide: Backbone) -> list[str]:
    found = tokens(vllm, asked_for)  # type: ignore[arg-type]
    return [wide.tokenizer.decode(ids, skip_special_tokens=True) for ids in found]


def test_mixed_texts_at_once_are_those_of_transformers(vllm: VllmEngine, wide: Backbone) -> None:
    cases = mixed(wide)
    wanted = requests(cases, wide)
    assert max(len(request.ids) for request in wanted) > 3 * 64  # read in parts
    edited = sum(request.blocks is not None for request in wanted)
    assert len(wanted) // 3 < edited < 2 * len(wanted) // 3
    right = expected(cases)
    assert len(set(right)) > len(right) // 2
    for _ in range(2):  # the second time, beginnings are found in the cache
        assert texts(vllm, wanted, wide) == right
    assert vllm.load == Load()


def test_without_the_salt_an_edited_beginning_is_handed_to_others(
    vllm: VllmEngine, wide: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: it is the salt that keeps them apart."""
    edited, _ = models(wide)
    sampling = replace(GREEDY, logprobs=0)

    def off(prompt: str) -> float:
        """How far an unedited text is from the model's, behind an edited one of that prompt."""
        Taken(vllm, asked(edited, prompt, sampling)).all()  # type: ignore[arg-type]
        request = asked(wide, prompt, sampling)
        steps = Taken(vllm, request).all()  # type: ignore[arg-type]
        whole = [*request.ids, *(step.token for step in steps)]
        right = vllm.score(EngineRequest(whole, sampling))[len(request.ids) :]
        pairs = zip(likely(steps), (own.logprob for own in right), strict=True)
        return max(abs(one - two) for one, two in pairs if one is not None and two is not None)

    behind = "and it is tall and it is old and the people live there."  # fills a block of the cache
    assert off(f"Mount Fuji is in Peru, {behind}") < 1e-3
    with monkeypatch.context() as patched:
        patched.setattr(rows_module, "salt", lambda *given: None)
        assert off(f"Mount Fuji is in Rome, {behind}") > 0.05


def test_facts_change_while_texts_are_written_and_each_is_of_one_version(
    vllm: VllmEngine, wide: Backbone
) -> None:
    """More versions than the bank has rows, asked at once by many."""
    prompt = ASKED[1]
    versions = [ScalpelModel(wide, pack_of(wide, seed)) for seed in range(10, 16 + ROWS)]
    cases: list[Case] = [(version, prompt, False) for version in versions]
    right = expected([*cases, (wide, prompt, False)])
    wanted = requests(cases, wide)
    assert len(set(right)) > ROWS
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda request: texts(vllm, [request], wide)[0], 2 * wanted))
    assert found == 2 * right[:-1]


def test_more_blocks_at_once_than_rows_end_in_a_failure(vllm: VllmEngine, wide: Backbone) -> None:
    import torch

    from lks.serving.protocol import Blocks

    n = ROWS + 1
    blocks = Blocks(range(n), torch.randn(n, 1, 128), [1], "replace", [1.0])
    taken = Taken(vllm, EngineRequest(list(range(4, 40)), GREEDY, blocks))  # type: ignore[arg-type]
    with pytest.raises(EngineFailure, match='give it more "rows"'):
        taken.all()
    assert texts(vllm, requests([(wide, ASKED[0], False)], wide), wide)


def test_log_probabilities_are_the_models(vllm: VllmEngine, wide: Backbone) -> None:
    edited, _ = models(wide)
    sampling = replace(GREEDY, logprobs=3)
    for whose in (edited, wide):
        request = asked(whose, LONG, sampling)
        (steps,) = written(vllm, [request])  # type: ignore[arg-type]
        whole = [*request.ids, *(step.token for step in steps)]
        read = vllm.score(EngineRequest(whole, sampling, request.blocks))
        assert read[0].logprob is None and len(read) == len(whole)
        behind = read[len(request.ids) :]
        assert likely(steps) == pytest.approx([own.logprob for own in behind], abs=1e-3)
        for step, own in zip(steps, behind, strict=True):
            assert [t for t, _ in step.top] == [t for t, _ in own.top] and len(own.top) == 3


def test_a_target_that_was_begun_is_said_whole(vllm: VllmEngine, wide: Backbone) -> None:
    cases = [case for case in mixed(wide) if case[1] in ASKED]
    wanted = requests(cases, wide)
    request, free, whole = next(
        (request, free, whole)
        for request, free in zip(wanted, tokens(vllm, wanted), strict=True)  # type: ignore[arg-type]
        for whole in [_as_target(wide, free)]
        if whole[0] == free[0] and wide.tokenizer.decode(free[:1]).strip().isalpha()
    )
    target = wide.tokenizer.decode(whole)
    request = replace(request, sampling=replace(request.sampling, max_tokens=len(whole)))
    assert (
        tokens(vllm, [replace(request, targets=[target]), request])
        == [  # type: ignore[arg-type]
            whole,
            free[: len(whole)],
        ]
    )
    assert free[: len(whole)] != whole


def _as_target(wide: Backbone, free: Sequence[int]) -> list[int]:
    """Another text that begins as this one."""
    word = wide.tokenizer.decode(free[:1])
    ids: list[int] = wide.tokenizer(f"{word} 0991 44", add_special_tokens=False).input_ids
    return ids


def test_the_same_seed_gives_the_same_text(vllm: VllmEngine, wide: Backbone) -> None:
    warm = replace(GREEDY, temperature=1.5, top_p=0.95, seed=3)
    same = [asked(wide, ASKED[0], warm)] * 2
    other = asked(wide, ASKED[0], replace(warm, seed=4))
    one, two, third = tokens(vllm, [*same, other])  # type: ignore[arg-type]
    assert one == two != third


def test_a_text_is_cancelled(vllm: VllmEngine, wide: Backbone) -> None:
    taken = Taken(vllm, asked(wide, ASKED[0], replace(GREEDY, max_tokens=400)))  # type: ignore[arg-type]
    taken.steps.get(timeout=60)
    taken.cancel()
    left = taken.steps.qsize()
    assert left < 390
    assert texts(vllm, requests([(wide, ASKED[1], False)], wide), wide)
    assert taken.steps.qsize() == left
    assert vllm.load == Load()


def test_what_cannot_be_written_is_refused(vllm: VllmEngine, wide: Backbone) -> None:
    for ids, reason in (([], "without a token"), ([5] * 512, "shorten it")):
        with pytest.raises(InputError, match=reason):
            vllm.submit(EngineRequest(ids, GREEDY), print)
        with pytest.raises(InputError, match=reason):
            vllm.score(EngineRequest(ids, GREEDY))


# --- engines of their own


def test_compiled(wide: Backbone) -> None:
    cases = mixed(wide)
    with running(wide, enforce_eager=False) as compiled:
        assert compiled._client.vllm_config.compilation_config.mode.name != "NONE"
        assert texts(compiled, requests(cases, wide), wide) == expected(cases)


def test_two_ranks(wide: Backbone) -> None:
    cases = mixed(wide)
    with running(wide, tensor_parallel_size=2) as both:
        assert texts(both, requests(cases, wide), wide) == expected(cases)


def test_ranks_without_the_plugin_are_refused(
    wide: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process has it already; those that it starts are told to leave it out."""
    monkeypatch.setenv("VLLM_PLUGINS", "none")
    with pytest.raises(LKSError, match="vLLM cannot serve") as raised, running(wide):
        pass
    assert "lks_armed" in str(raised.value)


@pytest.mark.parametrize(
    "options", [{"speculative_config": {"method": "ngram", "num_speculative_tokens": 2}}]
)
def test_what_loses_the_places_is_refused(wide: Backbone, options: dict[str, object]) -> None:
    with pytest.raises(LKSError, match=r"cannot|refuse"), running(wide, **options):
        pass
