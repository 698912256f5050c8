"""Names for what transformers and torch give without types that mypy could read.

No protocols: transformers makes many of these attributes when it runs (`eos_token_id`), so that its
own classes would not fit them where somebody type-checks a call of `Backbone`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

CausalLM: TypeAlias = Any  # a transformers.PreTrainedModel
Tokenizer: TypeAlias = Any  # a transformers.PreTrainedTokenizerFast
ModuleOutput: TypeAlias = Any  # of a module's forward pass: a tensor, a tuple, a ModelOutput
Attribute: TypeAlias = Any  # of a module, by name
Setting: TypeAlias = Any  # a value that the model's own `generate` takes
