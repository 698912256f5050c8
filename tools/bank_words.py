"""Write the words of the bank of wordings anew: src/lks/scope/bank/words.json.

    python tools/bank_words.py

Run it after every change of the bank.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path

from lks.files import write_whole
from lks.scope.bank.relations import bank
from lks.scope.bank.words import ENGLISH, FILE, words_in

SEVERAL = 2  # relations in whose wordings a word stands
OUT = Path(__file__).parent.parent / "src" / "lks" / "scope" / "bank" / FILE


def vocabularies() -> dict[str, list[str]]:
    """Language -> the words that stand in wordings of several relations, in alphabetical order."""
    found: dict[str, Counter[str]] = {ENGLISH: Counter()}
    for own in bank():
        found[ENGLISH].update(words_in(chain(own.wordings, own.follow_up)))
        for code, texts in own.translated.items():
            found.setdefault(code, Counter()).update(words_in(texts))
    return {
        code: sorted(word for word, relations in counted.items() if relations >= SEVERAL)
        for code, counted in found.items()
    }


if __name__ == "__main__":
    lines = (f" {json.dumps(k)}: {json.dumps(' '.join(v), ensure_ascii=False)}"
             for k, v in vocabularies().items())  # fmt: skip
    write_whole(OUT, ("{\n" + ",\n".join(lines) + "\n}\n").encode())
