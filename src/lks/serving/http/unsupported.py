"""Fields of OpenAI's API that are not supported.

Clients send some of them with a value that means nothing: then they are passed over. With any other
value the request is refused, by the field's name.
"""

from __future__ import annotations

from collections.abc import Mapping

Nothing = tuple[object, ...]  # values with which a field means nothing

_NOTHING: Nothing = (None,)
OF_BOTH: Mapping[str, Nothing] = {
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
}
OF_CHAT: Mapping[str, Nothing] = {
    **OF_BOTH,
    "tools": (None, []),
    "tool_choice": (None, "none"),
    "parallel_tool_calls": (None, True),
    "functions": (None, []),
    "function_call": (None, "none"),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "store": (None, False),
    "service_tier": (None, "auto", "default"),
    **dict.fromkeys(
        ("audio", "prediction", "reasoning_effort", "verbosity", "web_search_options"), _NOTHING
    ),
    **dict.fromkeys(("prompt_cache_key", "prompt_cache_retention", "safety_identifier"), _NOTHING),
    "moderation": _NOTHING,
}
OF_MESSAGE: Mapping[str, Nothing] = {
    "tool_calls": (None, []),
    "annotations": (None, []),
    **dict.fromkeys(("name", "refusal", "audio", "function_call", "tool_call_id"), _NOTHING),
}


UNSUPPORTED = frozenset({*OF_CHAT, *OF_MESSAGE})


def without(known: Mapping[str, Nothing], body: object) -> object:
    """The body without the fields that are not supported and mean nothing."""
    if not isinstance(body, dict):
        return body
    left = dict(body)
    for name, nothing in known.items():
        if name in left and any(_same(left[name], value) for value in nothing):
            del left[name]
    return left


def _same(one: object, other: object) -> bool:
    """Equal, and of one kind: False is not 0."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
