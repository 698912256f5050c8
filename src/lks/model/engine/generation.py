"""A model's own `generate`, as it is called here: greedily, whatever the model's files say.

Of a model's generation_config.json counts which tokens it may write, where it ends, and how samples
are drawn when they are asked for. How texts are searched for, how long they are and what comes back
is settled here, or by the caller's settings.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

from torch import Tensor

from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.engine.running import Swap, dense_head, swapped
from lks.model.untyped import Setting

# What counts of a model's own generation config.
OWN_SETTINGS = (
    *("bos_token_id", "eos_token_id", "stop_strings", "repetition_penalty", "no_repeat_ngram_size"),
    *("bad_words_ids", "sequence_bias", "suppress_tokens", "begin_suppress_tokens"),
    *("temperature", "top_k", "top_p", "top_h", "min_p", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
)
# Of these, rules by which another token is written than the likeliest.
RULES = (
    *("repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "sequence_bias"),
    *("suppress_tokens", "begin_suppress_tokens"),
)
# With these each prompt is read alone: in a batch, texts that end early are filled up.
ALONE = (
    *("stop_strings", "stopping_criteria", "max_time", "streamer", "prefix_allowed_tokens_fn"),
    *("assistant_model", "prompt_lookup_num_tokens"),
)
SETTINGS = frozenset(
    (
        *(*OWN_SETTINGS, *ALONE, "do_sample", "num_beams", "early_stopping", "length_penalty"),
        *("min_new_tokens", "renormalize_logits", "remove_invalid_values", "logits_processor"),
        *("exponential_decay_length_penalty", "forced_eos_token_id", "pad_token_id", "tokenizer"),
        *("use_cache", "cache_implementation", "cache_config", "num_assistant_tokens"),
        *("max_matching_ngram_size", "num_return_sequences"),
    )
)
INSTEAD = {
    "max_length": "give max_new_tokens",
    "min_length": "give min_new_tokens",
    "generation_config": "give its settings one by one",
    "return_dict_in_generate": "texts come back",
}


@dataclass(frozen=True)
class Stops:
    """What ends a text: one of some tokens, or one of some strings in it."""

    tokens: tuple[int, ...]
    strings: tuple[str, ...] = ()

    @classmethod
    def of(cls, backbone: Backbone, settings: Mapping[str, Setting]) -> Stops:
        """The model's own, unless the settings of a call say otherwise."""
        tokens = settings.get("eos_token_id", backbone.stop_ids)
        strings = settings.get("stop_strings", backbone.model.generation_config.stop_strings)
        return cls(_several(tokens), _several(strings))

    def cut(self, ids: Sequence[int]) -> list[int]:
        """Up to the first of the tokens, and with it."""
        end = next((n + 1 for n, token in enumerate(ids) if token in self.tokens), len(ids))
        return list(ids[:end])

    def ended(self, backbone: Backbone, ids: Sequence[int]) -> bool:
        """Whether a cut text ends in one."""
        if ids and ids[-1] in self.tokens:
            return True
        return bool(self.strings) and any(s in backbone.tokenizer.decode(ids) for s in self.strings)


def writes_first_choices(backbone: Backbone) -> bool:
    """Whether the model writes its likeliest token each time: its own config has no other rule."""
    own = backbone.model.generation_config
    return all(getattr(own, name, None) in (None, 0, 1) for name in RULES)


def own_rules(backbone: Backbone, prompt: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
    """The model's own rules for what follows a prompt, as transformers' logits processors.

    They take all tokens so far, [b, t], and scores, [b, vocabulary], and give other scores.
    """
    own = backbone.model.generation_config
    config = type(own)(**{name: getattr(own, name, None) for name in RULES})
    made: Callable[[Tensor, Tensor], Tensor] = backbone.model._get_logits_processor(
        config, input_ids_seq_length=len(prompt), device=backbone.device
    )
    return made


def check(max_new_tokens: int, settings: Mapping[str, Setting]) -> None:
    """InputError that names every setting that cannot be given."""
    problems = [_problem(name) for name in settings if name not in SETTINGS]
    if settings.get("num_return_sequences", 1) != 1:
        problems.append("one text a prompt is written; give a prompt several times instead")
    if not isinstance(max_new_tokens, Integral) or max_new_tokens < 0:
        problems.append(f"max_new_tokens is a whole number from 0 on, not {max_new_tokens!r}")
    if problems:
        raise InputError("generate: " + "; ".join(problems))


def continued(
    backbone: Backbone,
    inputs: Mapping[str, Tensor],
    max_new_tokens: int,
    settings: Mapping[str, Setting],
    stops: Stops | None = None,
) -> Tensor:
    """Token ids that the model writes behind a batch, [b, at most `max_new_tokens`].

    Args:
        stops: what ends a text, beside what the model's own generation config says if not given.

    Raises:
        InputError: transformers refuses the settings.
    """
    own, begun = backbone.model.generation_config, inputs["input_ids"].shape[1]
    config = type(own)()
    for name in OWN_SETTINGS:
        setattr(config, name, getattr(own, name, None))
    if backbone.kind == "encoder-decoder":
        for name in ("decoder_start_token_id", "forced_bos_token_id"):
            setattr(config, name, getattr(own, name, None))
        begun = 1  # its decoder's first token
    config.disable_compile = True  # compiled code sees no hook
    chosen = {"do_sample": False, **settings, "pad_token_id": backbone.pad_id}
    if stops is not None:
        chosen |= {"eos_token_id": list(stops.tokens) or None}
        if stops.tokens and backbone.pad_id not in stops.tokens:
            chosen |= {"pad_token_id": stops.tokens[0]}  # where a text ends, `cut` ends it
        if stops.strings:
            chosen |= {"tokenizer": backbone.tokenizer, "stop_strings": list(stops.strings)}
    try:
        with (
            swapped([Swap(backbone.model.__dict__, "generation_config", config)]),
            dense_head(backbone.model),
        ):
            out: Tensor = backbone.model.generate(**inputs, max_new_tokens=max_new_tokens, **chosen)
    except (TypeError, ValueError) as error:
        if not settings:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"generate: {reason}") from error
    return out[:, begun:]


def _problem(name: str) -> str:
    if name in INSTEAD:
        return f"'{name}' cannot be set; {INSTEAD[name]}"
    near = difflib.get_close_matches(name, (*SETTINGS, "max_new_tokens", "chat"), n=1)
    advice = f"did you mean {near[0]}?" if near else f"one of {', '.join(sorted(SETTINGS))}"
    return f"no setting '{name}'; {advice}"


def _several(value: Setting) -> tuple[Setting, ...]:
    """One, several or none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, (int, str)) else tuple(value)
