"""Wordings of common relations: what the relation gate learns from beside a user's own edits.

From them it learns what matters in a question. A few edits alone would teach it their own words.
"""

from __future__ import annotations

import json
from importlib.resources import files


def common_relations() -> tuple[list[list[str]], list[list[str]]]:
    """(wordings of each relation, questions for another thing about an entity of its kind).

    In both the entity is masked, as in `scope.sentences`. Kinds are people, places, works and so
    on; the other questions of a relation are the wordings of all others of its kind.
    """
    text = files("lks").joinpath("data/relations.json").read_text(encoding="utf-8")
    wordings, others = [], []
    for kind in json.loads(text).values():
        for name, own in kind.items():
            wordings.append(own)
            others.append([t for other, asked in kind.items() if other != name for t in asked])
    return wordings, others
