"""The parts of a scope by name: a new part is one file and one line here.

A part's docstring says what it does, and its `version` grows when it decides otherwise. A part of
the user's own is named by where it lies, `module:Class`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from lks.errors import InputError

# Kinds of parts, in the order in which they work.
PARTS: Mapping[str, Mapping[str, str]] = {
    "forms": {
        "shorter": "lks.scope.names.forms:Shorter",
        "initials": "lks.scope.names.forms:Initials",
        "spaced_number": "lks.scope.names.forms:SpacedNumber",
        "spelling": "lks.scope.names.forms:Spelling",
        "two_letters": "lks.scope.names.forms:TwoLetters",
        "plural": "lks.scope.names.forms:Plural",
    },
    "generators": {
        "exact": "lks.scope.candidates.exact:Exact",
        "misspelt": "lks.scope.candidates.fuzzy.generator:Misspelt",
    },
    "proposals": {
        "token_set": "lks.scope.candidates.token_set:TokenSet",
        "other_case": "lks.scope.candidates.other_case:OtherCase",
    },
    "filters": {
        "longer_name": "lks.scope.filters.longer_name:LongerName",
        "trailing_name": "lks.scope.filters.trailing_name:TrailingName",
        "edition": "lks.scope.filters.edition:Edition",
    },
    "sentence_vetoes": {
        "denial": "lks.scope.gate.vetoes:Denial",
        "contrast": "lks.scope.gate.qualifiers:Contrast",
        "narrowed": "lks.scope.gate.qualifiers:Narrowed",
    },
    "text_vetoes": {
        "negative_phrase": "lks.scope.gate.text_vetoes:NegativePhrase",
        "answered": "lks.scope.gate.text_vetoes:Answered",
        "later_turn": "lks.scope.gate.text_vetoes:LaterTurn",
        "stated": "lks.scope.gate.text_vetoes:Stated",
    },
}

# Parts of earlier versions, which packs may name; what they refused, the embedder tells apart now.
RETIRED = frozenset({"relative", "another_holder", "about_holder"})


def part_class(kind: str, name: str) -> Any:
    """The class of a part; InputError with advice if there is none of this name."""
    known = PARTS[kind]
    if not is_known(kind, name):
        near = difflib.get_close_matches(name, known, n=1) or sorted(known)
        raise InputError(f"no part '{name}' among the {kind}; did you mean {' or '.join(near)}?")
    module, _, attribute = known.get(name, name).partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"part '{name}' of the scope cannot be imported ({error})") from error


def is_known(kind: str, name: str) -> bool:
    """Whether there may be such a part."""
    return name in PARTS[kind] or ":" in name


def described(kind: str, name: str) -> str:
    """What a part does: its docstring, on one line."""
    return " ".join((inspect.getdoc(part_class(kind, name)) or "").split())
