"""By which class of transformers a model is opened."""

from __future__ import annotations

from collections.abc import Mapping

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
)

from lks.errors import ModelError
from lks.model.architectures.decoder import is_encoder_decoder
from lks.model.untyped import Attribute, CausalLM


def auto_class(place: str, options: Mapping[str, Attribute]) -> Attribute:
    """What opens the model there whole, with a head that writes text.

    Args:
        options: of `from_pretrained`.
    """
    config = AutoConfig.from_pretrained(place, **options)
    if config.is_encoder_decoder and type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        return AutoModelForSeq2SeqLM
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    return AutoModelForCausalLM  # it says by itself that it does not open this


def check_whole(model: CausalLM, name: str) -> None:
    """ModelError for the decoder of an encoder-decoder, opened alone.

    It has learnt to read what an encoder makes of a text, and there is none.
    """
    config = getattr(model, "config", None)
    family = type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    if family and getattr(config, "is_decoder", False) and not is_encoder_decoder(model):
        raise ModelError(
            f"{name}: {type(model).__name__} is the decoder of an encoder-decoder without its "
            "encoder; open the whole model (AutoModelForSeq2SeqLM)"
        )
