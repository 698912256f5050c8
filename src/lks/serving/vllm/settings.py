"""What vLLM's `additional_config` says of this plugin, and what it cannot go with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lks.errors import InputError
from lks.model.untyped import Attribute

KEY = "lks"
ROWS = 4096  # blocks that a bank holds; those of texts that are being written at a time
CODE = "code"  # where the salt stands
GUARD = "lks.serving.vllm.guard:Guard"


@dataclass(frozen=True)
class Settings:
    """The plugin's settings.

    Attributes:
        layers: that blocks may be put in behind; all if there are none.
        rows: of the bank, how many blocks there may be at a time.
        packs: where the packs of sets lie, by the set's name; then prompts are looked through here.
        default: the set of requests that name none.
        code: which plugin set the engine up; none if none did.
    """

    layers: tuple[int, ...] = ()
    rows: int = ROWS
    packs: Mapping[str, Path] = field(default_factory=dict)
    default: str | None = None
    code: str | None = None

    @classmethod
    def of(cls, additional: object) -> Settings | None:
        """Those in an `additional_config`; None where this plugin has nothing to do.

        Raises:
            InputError: they are none.
        """
        given = additional.get(KEY) if isinstance(additional, Mapping) else None
        if given is None:
            return None
        if not isinstance(given, Mapping):
            raise InputError(f'additional_config: "{KEY}" is {given!r}; give an object')
        known = {"layers", "rows", "packs", "set", CODE}
        if unknown := sorted(map(str, given.keys() - known)):
            told = ", ".join(sorted(known - {CODE}))
            raise InputError(f'additional_config: "{KEY}" knows no {unknown[0]}; it knows {told}')
        layers, rows, packs = given.get("layers", ()), given.get("rows", ROWS), given.get("packs")
        if not isinstance(rows, int) or rows < 1:
            raise InputError(f'additional_config: "rows" is {rows!r}; give a number from 1 on')
        if not all(isinstance(layer, int) and layer >= 0 for layer in layers):
            raise InputError(f'additional_config: "layers" is {layers!r}; give numbers from 0 on')
        found = {str(name): Path(str(path)) for name, path in (packs or {}).items()}
        default = given.get("set", next(iter(found)) if len(found) == 1 else None)
        if default is not None and default not in found:
            raise InputError(f'additional_config: "set" is "{default}", which is none of "packs"')
        return cls(tuple(layers), rows, found, default, given.get(CODE))


def salted(additional: Mapping[str, object]) -> dict[str, object]:
    """With what tells this plugin's code: vLLM's compiled graphs are kept by the whole of it.

    So no graph is taken that was compiled where the plugin was missing, or was another one.
    """
    own = additional[KEY]
    assert isinstance(own, Mapping)
    return {**additional, KEY: {**own, CODE: code()}}


def code() -> str:
    """A hash of what is compiled into the model, and told to it."""
    sources = [Path(__file__).with_name(name).read_bytes() for name in ("armed.py", "worker.py")]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:16]


def refused(config: Attribute) -> list[str]:
    """What in a whole vLLM config the plugin cannot go with: places or the salt would be lost, or
    it was never tried."""
    parallel = config.parallel_config
    found = {
        "micro-batches (--enable-dbo, --ubatch-size)": (
            parallel.enable_dbo or parallel.ubatch_size > 1
        ),
        "context parallelism (--prefill- or --decode-context-parallel-size)": (
            parallel.prefill_context_parallel_size > 1 or parallel.decode_context_parallel_size > 1
        ),
        "sequence parallelism (--enable-hc-sp, or of experts)": (
            parallel.enable_hc_sp or parallel.use_sequence_parallel_moe
        ),
        "shared-KV fast prefill (--kv-sharing-fast-prefill)": (
            config.cache_config.kv_sharing_fast_prefill
        ),
        "data parallelism (--data-parallel-size; start several servers instead)": (
            parallel.data_parallel_size > 1
        ),
        "several API servers (--api-server-count)": parallel._api_process_count > 1,
        "speculative decoding (--speculative-config)": config.speculative_config is not None,
        "KV connectors and offloading, which may not know the salt (--kv-transfer-config)": (
            config.kv_transfer_config is not None
        ),
        "the V2 model runner (set VLLM_USE_V2_MODEL_RUNNER=0)": config.use_v2_model_runner,
    }
    return [what for what, there in found.items() if there]
