"""Metrics as pure functions, free of torch."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lks.edits.edit import Edit
from lks.edits.text import counted, holds_words, same_text, same_wording
from lks.scope.languages.ko import particles
from lks.scope.normalizer import spaceless

DRAWS = 1000  # bootstrap samples
_TELLING = re.compile(r"[+#]|(?<!\w)-(?=\d)|(?<=\d)(?:\.|,(?!\d{3}\b))(?=\d)")
_MARKS = {mark: chr(0xE000 + n) for n, mark in enumerate("+#-.,")}  # no punctuation: they stay
_PARTS = re.compile(r"(?<=\w)[-–—/'’](?=[^\W\d])")


def exact_match(text: str, target: str) -> bool:
    """Whether a whole written answer is the target, after normalisation."""
    return _told(text) == _told(target)


def _told(text: str) -> tuple[str, ...]:
    """The wording, and what of its marks tells: those of numbers, and of C++ and C#."""
    return same_wording(text) or same_text(text), *_TELLING.findall(text)


def share(flags: Iterable[bool]) -> float:
    """Share of true entries; 0 for none."""
    values = list(flags)
    return sum(values) / len(values) if values else 0.0


def agreement(a: Sequence[int], b: Sequence[int]) -> float:
    """Share of places in which two models predict the same token (the paper's locality)."""
    return share(x == y for x, y in zip(a, b, strict=True))


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of what is there; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def edit_performance(
    reliability: float | None, generality: float | None, locality: float | None
) -> float | None:
    """EP, the mean of the three; None if one of them could not be scored."""
    parts = (reliability, generality, locality)
    return None if None in parts else mean(parts)


def not_asked(edits: Sequence[Edit]) -> list[str]:
    """What scores of these edits cannot tell, for want of held-out prompts: a sentence each."""
    bare = sum(not edit.generality for edit in edits)
    told = []
    if bare == len(edits):
        told.append(
            'no edit has held-out paraphrases ("generality"), so that only prompts which training '
            "saw were asked: the scores do not tell whether a fact holds when people ask in their "
            "own words; write two or three such questions for each"
        )
    elif bare:
        told.append(
            f"{bare} of {counted(len(edits), 'edit')} without held-out paraphrases "
            '("generality"): that score is of the others alone'
        )
    if not any(edit.heldout_locality for edit in edits):
        told.append(
            'no edit has held-out questions about other things ("locality"): the scores do not '
            "tell whether other answers stay as they are"
        )
    return told


def contains(text: str, target: str) -> bool:
    """Whether a written text states the target somewhere, as whole words, after normalisation.

    Marks that tell count (C is not C++, 125 is not 12.5); others part words or do not, as it fits
    (Rome's, Rome-based). Scripts without spaces have no whole words, and Korean particles may
    follow.
    """
    if not any(map(str.isalnum, target)):
        return stands_in(text, target)
    if not same_wording(target):  # an article, such as the grade A
        return holds_words(text, target)
    return any(f" {words(target)} " in f" {words(text)} " for words in (_words, _parted, _bare))


def _words(text: str) -> str:
    """The words by `same_wording`, with the marks that tell."""
    marked = _TELLING.sub(lambda mark: _MARKS[mark[0]], text)
    return same_wording("".join(f" {c} " if spaceless(c) else c for c in marked))


def _parted(text: str) -> str:
    """The same, where what stands between words parts them."""
    return _words(_PARTS.sub(" ", text))


def _bare(text: str) -> str:
    """The same, without the Korean particles that are written onto words."""
    return " ".join(word[: particles(word)] for word in _parted(text).split())


def stands_in(text: str, target: str) -> bool:
    """Whether a written text holds the target letter by letter, case and white space apart."""
    return " ".join(target.lower().split()) in " ".join(text.lower().split())


def interval(cases: Sequence[Sequence[float]], *, seed: int = 0) -> tuple[float, float] | None:
    """95 % of the bootstrap means over cases; None for fewer than two.

    Args:
        cases: the values of each case; a case is drawn with all its values.
    """
    return joint_interval([{"": own} for own in cases], seed=seed)


def joint_interval(
    cases: Sequence[Mapping[str, Sequence[float]]], *, seed: int = 0
) -> tuple[float, float] | None:
    """95 % of the bootstrap, over cases, of the mean of a mean a kind; None for fewer than two.

    Args:
        cases: the values of each kind, by case, of which any may have none; a case is drawn whole.
    """
    if len(cases) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(cases), size=(DRAWS, len(cases)))
    means = []
    for kind in cases[0]:
        sums, counts = np.array([(sum(own[kind]), len(own[kind])) for own in cases], float).T
        with np.errstate(invalid="ignore"):  # a draw without any value of a kind says nothing
            means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    low, high = np.nanpercentile(np.mean(means, axis=0), [2.5, 97.5])
    return float(low), float(high)


def interval_of_mean(
    parts: Sequence[tuple[float, tuple[float, float] | None]],
) -> tuple[float, float] | None:
    """95 % of the mean of independent means, each given with its own interval.

    Their distances from the mean add in squares. None if one of them has no interval.
    """
    known = [(middle, own) for middle, own in parts if own is not None]
    if not parts or len(known) < len(parts):
        return None
    n, middle = len(known), sum(value for value, _ in known) / len(known)
    down, up = (math.hypot(*(own[i] - value for value, own in known)) / n for i in (0, 1))
    return middle - down, middle + up


def ngram_entropy(text: str) -> float:
    """Fluency: entropies (bits) of word 2-grams and 3-grams, weighted 2/3 and 4/3, averaged.

    The "generation entropy" of Meng et al. 2022 (ROME, appendix on CounterFact metrics); low for
    text that repeats itself.
    """
    words = re.findall(r"\w+|[^\w\s]", text.casefold())
    total = 0.0
    for n, weight in ((2, 2 / 3), (3, 4 / 3)):
        grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
        count = sum(grams.values())
        total += weight * -sum(k / count * math.log2(k / count) for k in grams.values())
    return total / 2
