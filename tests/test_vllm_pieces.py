"""The plugin of vLLM, piece by piece, without vLLM."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lks.blocks.forms import put_in
from lks.cli.engines import EngineName, engine_maker
from lks.errors import InputError, LKSError, MissingExtra
from lks.serving.protocol import Blocks, EngineFailure
from lks.serving.vllm import plugin
from lks.serving.vllm.armed import Armed, columns, edited, kept
from lks.serving.vllm.outputs import scored, steps
from lks.serving.vllm.rows import Bank, Rows, salt
from lks.serving.vllm.settings import GUARD, Settings, code, refused, salted
from lks.serving.vllm.worker import check_armed, texts

WIDTH, TOKENS = 8, 12


class Pair(nn.Module):
    """A layer as vLLM's are: what it adds, and what it adds it to."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        return self.linear(hidden), residual


def armed(layers: Sequence[nn.Module], rows: int = 4) -> Armed:
    return Armed(dict(enumerate(layers)), WIDTH, rows, TOKENS, torch.device("cpu"))


def filled(own: Armed, form: str, scale: float, blocks: Tensor) -> None:
    keep, most = kept(form, scale)
    n = len(blocks)
    own.put(list(range(1, n + 1)), blocks.numpy().tobytes(), [keep] * n, [most] * n)


# --- what a layer does


@pytest.mark.parametrize("form", ["replace", "residual"])
def test_a_layer_puts_in_what_the_hook_does(form: str) -> None:
    torch.manual_seed(0)
    layer, blocks, scale = Pair(), torch.randn(2, WIDTH), 0.1
    hidden, residual = torch.randn(5, WIDTH), torch.randn(5, WIDTH)
    before = layer(hidden, residual)
    names = dict(layer.named_parameters()).keys()
    own = armed([layer])
    filled(own, form, scale, blocks)
    assert [torch.equal(*pair) for pair in zip(layer(hidden, residual), before, strict=True)] == [
        True, True,
    ]  # fmt: skip
    own.place({0: [(1, 2), (4, 1)]})
    one, two = layer(hidden, residual)
    stream, states = one + two, sum(before)
    expected = put_in(form, states[[1, 4]], blocks[[1, 0]], scale)
    torch.testing.assert_close(stream[[1, 4]], expected, rtol=1e-6, atol=1e-6)
    assert form == "residual" or torch.equal(stream[[1, 4]], expected)
    assert torch.equal(one[[0, 2, 3]], before[0][[0, 2, 3]])
    assert torch.equal(two[[0, 2, 3]], residual[[0, 2, 3]]) and not two[[1, 4]].any()
    own.place({})
    assert torch.equal(sum(layer(hidden, residual)), states)
    assert isinstance(layer, Pair) and dict(layer.named_parameters()).keys() == names
    assert not {"lks_bank", "lks_rows"} & layer.state_dict().keys()


def test_the_sum_is_exact_in_sixteen_bits() -> None:
    """The stream is a large state and a small difference: their sum would be rounded."""
    rows, bank = torch.tensor([0, 1]), torch.randn(2, WIDTH)
    large = torch.full((2, WIDTH), 300.0, dtype=torch.bfloat16)
    one, two = edited((large / 7, large), rows, bank, torch.zeros(2), torch.zeros(2))
    assert torch.equal((one + two)[1], bank[1].bfloat16())
    assert (one.dtype, two.dtype) == (torch.bfloat16, torch.bfloat16)


def test_a_layer_may_give_one_tensor_as_those_of_transformers_do() -> None:
    states, bank = torch.randn(1, 3, WIDTH), torch.randn(2, WIDTH)
    out = edited(states, torch.tensor([0, 1, 0, 1]), bank, torch.zeros(2), torch.zeros(2))
    assert out.shape == states.shape
    assert torch.equal(out[0, 1], bank[1]) and torch.equal(out[0, [0, 2]], states[0, [0, 2]])


def test_a_layer_of_another_kind_fails_at_once() -> None:
    with pytest.raises(ValueError):
        edited((1, 2, 3), *[torch.zeros(2)] * 4)


def test_it_compiles_without_a_break_and_sees_later_changes() -> None:
    layer = Pair()
    own = armed([layer])
    compiled = torch.compile(layer, fullgraph=True, backend="eager", dynamic=True)
    hidden, residual = torch.randn(6, WIDTH), torch.randn(6, WIDTH)
    plain = sum(compiled(hidden, residual))
    blocks = torch.randn(1, WIDTH)
    filled(own, "replace", 1.0, blocks)
    own.place({0: [(2, 1)]})
    changed = sum(compiled(hidden, residual))
    assert torch.equal(changed[2], blocks[0]) and torch.equal(changed[3:], plain[3:])


# --- which tokens


def test_places_are_those_of_the_prompt_in_whichever_parts_it_is_read() -> None:
    positions, rows = [0, 3, 4, 9], [5, 6, 7, 8]
    whole = columns([(0, 10, [1] * 4, positions, rows)])
    assert whole == {1: [(0, 5), (3, 6), (4, 7), (9, 8)]}
    parts = [(0, 4), (4, 1), (5, 5)]
    found = [columns([(past, n, [1] * 4, positions, rows)]).get(1, []) for past, n in parts]
    places = [
        (past + at, row) for (past, _), own in zip(parts, found, strict=True) for at, row in own
    ]
    assert places == whole[1]
    assert columns([(10, 1, [1] * 4, positions, rows)]) == {}  # tokens that are written


def test_texts_stand_behind_each_other_in_a_step() -> None:
    step = [
        (7, 1, (), (), ()), (0, 5, [1], [2], [3]), (4, 3, [2, 2], [1, 5], [4, 4]),
        (0, 2, [1, 3], [0, 0], [9, 8]),
    ]  # fmt: skip
    assert columns(step) == {1: [(3, 3), (9, 9)], 2: [(7, 4)], 3: [(9, 8)]}


def test_a_runners_step_is_read_in_its_order() -> None:
    def request(extra: object) -> object:
        return SimpleNamespace(sampling_params=SimpleNamespace(extra_args=extra))

    place = {"lks": {"layers": [2], "positions": [1], "rows": [3]}}
    runner = SimpleNamespace(
        input_batch=SimpleNamespace(num_computed_tokens_cpu=[4, 0, 9], req_ids=["b", "a", "c"]),
        requests={
            "a": request(place), "b": request(None), "c": SimpleNamespace(sampling_params=None)
        },
    )  # fmt: skip
    assert list(texts(runner, {"a": 6, "b": 1, "c": 1})) == [
        (4, 1, (), (), ()), (0, 6, [2], [1], [3]), (9, 1, (), (), ()),
    ]  # fmt: skip


# --- rows of the bank


def test_a_row_is_one_blocks_as_long_as_anybody_uses_it() -> None:
    rows = Rows(2)
    one, new = rows.take([b"a", b"b", b"a"])
    assert one[0] == one[2] != one[1] and new == [0, 1]
    assert rows.take([b"b"]) == ([one[1]], [])
    with pytest.raises(LKSError, match="room for 0"):
        rows.take([b"c"])
    rows.give_back([b"a", b"b", b"a"])
    (third,), new = rows.take([b"c"])
    assert (third, new) == (one[0], [0])  # b is still in use
    rows.give_back([b"b"])
    rows.give_back([b"c"])
    assert rows.take([b"c"]) == ([third], [])  # nobody has needed its place meanwhile
    assert rows.take([b"d"]) == ([one[1]], [0])  # b was unused for longest


def test_blocks_are_handed_over_once_and_salted_by_what_and_where() -> None:
    calls = []

    async def rpc(method: str, timeout: object, args: tuple[Any, ...]) -> None:
        calls.append((method, *args))

    def blocks(seed: int, at: Sequence[int] = (1, 3), form: str = "replace") -> Blocks:
        torch.manual_seed(seed)
        return Blocks(at, torch.randn(2, 1, WIDTH), [1], form, [2.0])

    async def all_of_them() -> list[Any]:
        bank, found = Bank(rpc, 8), []
        for own in (blocks(0), blocks(0), blocks(0, (2, 3)), blocks(1), blocks(0, form="residual")):
            async with bank.holding(own, ["Rome"]) as handed:
                found.append(handed)
        async with bank.holding(None) as nothing:
            return [*found, nothing]

    *found, nothing = asyncio.run(all_of_them())
    assert [own.extra["lks"]["rows"] for own in found[:3]] == [[1, 2]] * 3
    assert found[0].extra["lks"] == {
        "targets": ["Rome"], "layers": [1, 1], "positions": [1, 3], "rows": [1, 2]
    }  # fmt: skip
    assert found[0].salt == found[1].salt
    assert len({own.salt for own in found}) == 4
    assert (nothing.extra, nothing.salt) == ({}, None)
    assert [method for method, *_ in calls] == ["lks_put"] * 3
    assert calls[0][2] == blocks(0).values.numpy().tobytes()
    assert calls[2][3:] == ([1.0, 1.0], [6.0, 6.0])
    assert salt([1], [0], [b"a"]) != salt([2], [0], [b"a"])


def test_a_block_that_did_not_arrive_is_sent_again() -> None:
    tries = iter([OSError("lost"), None])

    async def rpc(*args: object) -> None:
        if (error := next(tries)) is not None:
            raise error

    async def twice() -> int:
        bank, own = Bank(rpc, 1), Blocks([0], torch.ones(1, 1, WIDTH), [1], "replace", [1.0])
        with pytest.raises(OSError):
            async with bank.holding(own):
                pass
        async with bank.holding(own) as handed:
            return int(handed.extra["lks"]["rows"][0])  # type: ignore[index]

    assert asyncio.run(twice()) == 1 and next(tries, "sent") == "sent"


# --- settings


def test_it_is_inert_unless_asked_for() -> None:
    for additional in ({}, {"other": 1}, None):
        assert Settings.of(additional) is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "give an object"), ({"pack": "x"}, "knows no pack"), ({"rows": 0}, '"rows" is 0'),
        ({"layers": [-1]}, '"layers"'), ({"packs": {"a": "x"}, "set": "b"}, "none of"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(given: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Settings.of({"lks": given})


def test_the_config_is_salted_and_guarded(tmp_path: Path) -> None:
    class Args:
        logits_processors = None

        def __init__(self, additional: dict[str, object], config: object) -> None:
            self.additional_config, self._config = additional, config

        def create_engine_config(self) -> object:
            return self._config

    plugin._arm_config(Args)
    plain = Args({"x": 1}, "config")
    assert plain.create_engine_config() == "config"
    assert (plain.additional_config, plain.logits_processors) == ({"x": 1}, None)
    own = Args({"lks": {}}, config())
    own.create_engine_config()
    assert own.additional_config == {"lks": {"code": code()}}
    assert own.logits_processors == [GUARD]
    with pytest.raises(InputError, match="speculative"):
        Args({"lks": {}}, config(speculative_config={})).create_engine_config()
    with pytest.raises(InputError, match="take vllm serve"):
        Args({"lks": {"packs": {"a": str(tmp_path)}}}, config()).create_engine_config()
    other = type("Other", (Args,), {"create_engine_config": lambda self: "config"})
    plugin._arm_config(other, "0.40.1")
    assert other({}, None).create_engine_config() == "config"
    with pytest.raises(InputError, match=r"knows vLLM 0.32.x, and this is 0.40.1"):
        other({"lks": {}}, None).create_engine_config()
    assert salted({"lks": {"rows": 2}, "x": 1}) == {"lks": {"rows": 2, "code": code()}, "x": 1}


def config(**changed: Any) -> Any:
    parallel = dict.fromkeys(("enable_dbo", "enable_hc_sp", "use_sequence_parallel_moe"), False)
    sizes = dict.fromkeys(
        ("ubatch_size", "prefill_context_parallel_size", "decode_context_parallel_size",
         "data_parallel_size", "_api_process_count"), 1,
    )  # fmt: skip
    own = {key: changed.pop(key) for key in [*parallel, *sizes] if key in changed}
    whole = {
        "parallel_config": SimpleNamespace(**{**parallel, **sizes, **own}),
        "cache_config": SimpleNamespace(
            kv_sharing_fast_prefill=changed.pop("kv_sharing_fast_prefill", False)
        ),
        "speculative_config": None, "kv_transfer_config": None, "use_v2_model_runner": False,
        **changed,
    }  # fmt: skip
    return SimpleNamespace(**whole)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("enable_dbo", True), ("ubatch_size", 2), ("prefill_context_parallel_size", 2),
        ("decode_context_parallel_size", 2), ("enable_hc_sp", True), ("data_parallel_size", 2),
        ("use_sequence_parallel_moe", True), ("kv_sharing_fast_prefill", True),
        ("_api_process_count", 2), ("use_v2_model_runner", True), ("speculative_config", {}),
        ("kv_transfer_config", {}),
    ],
)  # fmt: skip
def test_what_loses_the_places_is_refused(key: str, value: object) -> None:
    assert refused(config()) == []
    assert len(refused(config(**{key: value}))) == 1


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([None], "rank 0 is not armed"),
        ([{"armed": True, "code": "c", "layers": [0, 1]}, {"armed": False}], "rank 1 is not armed"),
        ([{"armed": True, "code": "d", "layers": [0, 1]}], "another LKS"),
        ([{"armed": True, "code": "c", "layers": [0]}], "layer 1 is armed in no rank"),
    ],
)
def test_a_rank_that_is_not_armed_is_refused(answers: list[object], reason: str) -> None:
    with pytest.raises(LKSError, match=reason):
        check_armed(answers, Settings(code="c"), 2)


def test_ranks_may_share_the_layers() -> None:
    halves = [{"armed": True, "code": "c", "layers": [layer]} for layer in (0, 1)]
    check_armed(halves, Settings(code="c"), 2)
    check_armed(halves[:1], Settings(layers=(0,), code="c"), 2)


# --- what vLLM gives


def logprob(value: float, rank: int) -> object:
    return SimpleNamespace(logprob=value, rank=rank)


def test_steps_of_a_part_of_a_text() -> None:
    told = [{7: logprob(-2.0, 5), 3: logprob(-0.1, 1)}, {3: logprob(-0.2, 1)}]
    part = SimpleNamespace(token_ids=[7, 3], logprobs=told, finish_reason="stop")
    one, two = steps(part, 1)
    assert (one.token, one.logprob, one.top, one.finish) == (7, -2.0, [(3, -0.1)], None)
    assert (two.token, two.top, two.finish) == (3, [(3, -0.2)], "stop")
    for tokens, finish in (([7], "abort"), ([], "length")):
        with pytest.raises(EngineFailure, match="vLLM ended"):
            list(steps(SimpleNamespace(token_ids=tokens, finish_reason=finish), None))


def test_a_scored_prompts_first_token_has_no_log_probability() -> None:
    given = [None, {5: logprob(-3.0, 9), 2: logprob(-0.5, 1)}]
    first, second = scored([4, 5], given, 1)
    assert (first.logprob, second.logprob, second.top) == (None, -3.0, [(2, -0.5)])


# --- the command line


def test_options_of_an_engine_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused_with(reason: str, *given: Any, error: type[Exception] = InputError) -> None:
        with pytest.raises(error, match=reason):
            engine_maker(*given)

    refused_with("are for --engine vllm", EngineName.TRANSFORMERS, 2, None)
    refused_with("no JSON ", EngineName.VLLM, 1, "{a")
    refused_with("no JSON object", EngineName.VLLM, 1, "[]")
    find: Callable[[str], None] = lambda name: None  # noqa: E731
    monkeypatch.setattr("lks.cli.engines.find_spec", find)
    refused_with("vllm", EngineName.VLLM, 2, None, error=MissingExtra)
