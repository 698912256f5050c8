"""The matcher of the edit scope against the published recipe: recall, false triggers, speed.

    python benchmarks/scope.py --edits zsre.jsonl counterfact.jsonl --texts gsm8k_test.jsonl ...

The recipe: a name that is a substring of the prompt, else by the whole prompt (partial ratio >= 90
or token-sort ratio > 50), else by its capitalised spans (Levenshtein ratio > 0.64). It is written
as described, one name after the other with the scorers of rapidfuzz, and is so slow that it sees
only `--sample` texts of each kind.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

from _record import RESULTS, given, program
from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein
from scope_names import (
    ALIASES,
    FRAMES,
    TRANSLITERATED,
    full_width,
    letters,
    misspelt,
    short_texts,
    synthetic,
    without_diacritics,
)

from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.scope.config import PRESETS
from lks.scope.matcher import Matcher
from lks.scope.normalizer import normalise

SEED = 0
NAMES = (1_000, 10_000, 100_000, 1_000_000)
_SPANS = re.compile(r"[A-Z]\w*(?:\s+[A-Z]\w*)*")
_KEYS = ("question", "sentence", "sentence1", "sentence2")


class Recipe:
    """The published recipe: the one name that a prompt is about, or None."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)

    def __call__(self, prompt: str) -> str | None:
        found = [name for name in self.names if name in prompt]
        if found:
            return max(found, key=len)
        best, best_score = None, 0.0
        for name in self.names:
            partial, tokens = fuzz.partial_ratio(name, prompt), fuzz.token_sort_ratio(name, prompt)
            if (partial >= 90 or tokens > 50) and max(partial, tokens) > best_score:
                best, best_score = name, max(partial, tokens)
        if best is not None:
            return best
        best_score = 0.64
        for span in _SPANS.findall(prompt):
            for name in self.names:
                score = Levenshtein.normalized_similarity(name, span)
                if score > best_score:
                    best, best_score = name, score
        return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=given, nargs="+", required=True)
    parser.add_argument("--texts", type=given, nargs="+", required=True)
    parser.add_argument("--sample", type=int, default=50, help="texts of a kind for the recipe")
    parser.add_argument("--cases", type=int, default=2000, help="names of a kind for the matcher")
    parser.add_argument("--names", type=int, nargs="+", default=list(NAMES))
    parser.add_argument("--speed", nargs=2, help=argparse.SUPPRESS)  # one size, in its own process
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    texts = {path.stem: read_texts(path) for path in options.texts}
    if options.speed:
        count, fuzzy = int(options.speed[0]), options.speed[1] == "fuzzy"
        print(json.dumps(speed(options.edits, texts, count, fuzzy=fuzzy)))
        return
    from lks.evaluation.provenance import provenance

    result: dict[str, Any] = {**provenance(), "seed": SEED, "recipe_sample": options.sample}
    result["versions"] |= {
        name: version(name)
        for name in ("ahocorasick-rs", "rapidfuzz", "anyascii", "symspellpy", "numpy")
    }
    result["data"] = {
        path.stem: of_one_file(EditSet.load(path), texts, options.cases, options.sample)
        for path in options.edits
    }
    result["other_names"] = other_names(EditSet.load(options.edits[0]))
    result["speed"] = [
        in_own_process(count, kind) for count in options.names for kind in ("exact", "fuzzy")
    ]
    RESULTS.mkdir(exist_ok=True)
    out = RESULTS / "scope-matcher.json"
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {out}")


def read_texts(path: Path) -> list[str]:
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    return [row[key] for row in rows for key in _KEYS if isinstance(row.get(key), str)]


def of_one_file(
    edits: EditSet, texts: dict[str, list[str]], cases: int, sample: int
) -> dict[str, Any]:
    """Everything that is measured with one file's names loaded."""
    started = time.perf_counter()
    matcher = Matcher(edits)
    seconds = time.perf_counter() - started
    names = list(dict.fromkeys(edit.subject for edit in edits))
    recipe = Recipe(names)
    return {
        "edits": len(edits),
        "names": len(names),
        "build_seconds": round(seconds, 3),
        "recall": recall(matcher, recipe, names, cases, sample),
        "misspelt_by_length": by_length(matcher, names, cases),
        "own_prompts": own_prompts(matcher, recipe, edits, sample),
        "false_triggers": {
            key: triggers(matcher, recipe, own, sample) for key, own in texts.items()
        },
        "speed_ratio": speed_ratio(matcher, recipe, names, texts, sample),
    }


def variants(names: Sequence[str], rng: random.Random) -> dict[str, list[tuple[str, str]]]:
    """kind -> (name, how it is written)."""
    made: dict[str, list[tuple[str, str]]] = {
        "exact": [(name, name) for name in names],
        "possessive": [(name, name + "'s") for name in names],
        "upper case": [(name, name.upper()) for name in names],
        "lower case": [(name, name.lower()) for name in names],
        "no diacritics": [(name, without_diacritics(name)) for name in names],
        "full width": [(name, full_width(name)) for name in names],
        "hyphens for spaces": [(name, name.replace(" ", "-")) for name in names if " " in name],
    }
    made["no diacritics"] = [pair for pair in made["no diacritics"] if pair[0] != pair[1]]
    for errors, shortest in ((1, 6), (2, 12)):
        long = [name for name in names if letters(name) >= shortest]
        made[f"{errors} misspelling{'s' if errors > 1 else ''}, {shortest} letters or more"] = [
            (name, misspelt(name, errors, rng)) for name in long
        ]
    return made


def recall(
    matcher: Matcher, recipe: Recipe, names: Sequence[str], cases: int, sample: int
) -> dict[str, Any]:
    """Per kind: found, and another entity found in its place; the recipe on fewer cases."""
    rng = random.Random(SEED)
    shuffled = rng.sample(list(names), len(names))
    result = {}
    for kind, pairs in variants(shuffled, rng).items():
        pairs = pairs[:cases]
        if kind in ("upper case", "lower case"):
            any_case = [pair for pair in pairs if matcher_ignores_case(matcher, pair[0])]
            result[kind] = score(matcher, any_case) | {
                "matched_as_written_only": len(pairs) - len(any_case)
            }
        else:
            result[kind] = score(matcher, pairs)
        result[kind]["recipe"] = score_recipe(recipe, pairs[:sample])
    return result


def matcher_ignores_case(matcher: Matcher, name: str) -> bool:
    """Whether the policy lets this name match in any case (not short, not one common word)."""
    return not matcher.as_written(name)


def score(matcher: Matcher, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    found = wrong = 0
    missed = []
    for number, (name, surface) in enumerate(pairs):
        frame = FRAMES[number % len(FRAMES)]
        start = frame.index("{}")
        mentions = matcher(frame.format(surface))
        over = [m for m in mentions if m.start < start + len(surface) and m.end > start]
        if any(same(m.subject, name) for m in over):
            found += 1
            continue
        wrong += bool(over)
        missed.append([name, surface, *(m.subject for m in over)])
    total = max(len(pairs), 1)
    return {
        "cases": len(pairs),
        "found": round(found / total, 4),
        "wrong_entity": round(wrong / total, 4),
        "missed": missed[:10],
    }


def same(subject: str, name: str) -> bool:
    """Subjects that differ in case or marks only are one entity to the matcher."""
    return without_diacritics(subject).casefold() == without_diacritics(name).casefold()


def score_recipe(recipe: Recipe, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    answers = [
        (name, recipe(FRAMES[number % len(FRAMES)].format(surface)))
        for number, (name, surface) in enumerate(pairs)
    ]
    total = max(len(answers), 1)
    right = sum(answer is not None and same(answer, name) for name, answer in answers)
    none = sum(answer is None for _, answer in answers)
    return {
        "cases": len(answers),
        "found": round(right / total, 4),
        "wrong_entity": round((len(answers) - right - none) / total, 4),
    }


def by_length(matcher: Matcher, names: Sequence[str], cases: int) -> list[dict[str, Any]]:
    rng = random.Random(SEED)
    rows = []
    for low, high in ((4, 5), (6, 7), (8, 9), (10, 11), (12, 14), (15, 19), (20, 60)):
        own = [name for name in names if low <= letters(name) <= high]
        own = rng.sample(own, min(cases // 2, len(own)))
        for errors in (1, 2):
            scored = score(matcher, [(name, misspelt(name, errors, rng)) for name in own])
            rows.append({"letters": [low, high], "errors": errors, **scored})
    return rows


def own_prompts(matcher: Matcher, recipe: Recipe, edits: EditSet, sample: int) -> dict[str, Any]:
    """How often a row's own prompts trigger another entity: instead of it, and beside it."""
    rng = random.Random(SEED)
    prompts = [(edit, text) for edit in edits for text in (edit.prompt, *edit.generality)]
    instead, beside, none = [], [], 0
    for edit, text in prompts:
        mentions = matcher(text)
        others = [m.subject for m in mentions if edit.id not in m.edit_ids]
        if len(others) < len(mentions):
            if others:
                beside.append([edit.subject, text, *others])
        elif others:
            instead.append([edit.subject, text, *others])
        else:
            none += 1
    few = rng.sample(prompts, min(sample, len(prompts)))
    answers = [(edit.subject, recipe(text)) for edit, text in few]
    return {
        "prompts": len(prompts),
        "wrong_entity": round(len(instead) / len(prompts), 5),
        "another_entity_beside": round(len(beside) / len(prompts), 5),
        "no_entity": round(none / len(prompts), 5),
        "examples": {"wrong": instead[:10], "beside": beside[:10]},
        "recipe": {
            "prompts": len(few),
            "wrong_entity": sum(a is not None and a != s for s, a in answers) / len(few),
        },
    }


def triggers(matcher: Matcher, recipe: Recipe, texts: Sequence[str], sample: int) -> dict[str, Any]:
    """Texts per 1,000 in which anything fires, by kind of mention, with the names that do."""
    fired: Counter[tuple[str, str, str]] = Counter()
    kinds: Counter[str] = Counter()
    hit = 0
    for text in texts:
        mentions = matcher(text)
        hit += bool(mentions)
        kinds.update({mention.kind for mention in mentions})
        fired.update({(m.kind, m.subject, m.surface) for m in mentions})
    few = random.Random(SEED).sample(list(texts), min(sample, len(texts)))
    return {
        "texts": len(texts),
        "per_1000": round(1000 * hit / len(texts), 2),
        "per_1000_by_kind": {k: round(1000 * n / len(texts), 2) for k, n in sorted(kinds.items())},
        "fuzzy": [[*names, n] for names, n in fired.most_common() if names[0] == "fuzzy"][:40],
        "exact": [[*names, n] for names, n in fired.most_common() if names[0] != "fuzzy"][:80],
        "recipe": {
            "texts": len(few),
            "per_1000": round(1000 * sum(recipe(text) is not None for text in few) / len(few), 1),
        },
    }


def other_names(edits: EditSet) -> dict[str, Any]:
    """Names in other scripts and aliases, among the names of a data set."""
    own = [Edit(f"name-{name}", name, name, "x") for name in {*TRANSLITERATED, *ALIASES}]
    with_aliases = [
        Edit(f"alias-{name}", name, name, "x", aliases=tuple(aliases))
        for name, aliases in ALIASES.items()
    ]
    return {
        "transliterated": score(
            Matcher([*edits, *own]),
            [(name, text) for name, texts in TRANSLITERATED.items() for text in texts],
        ),
        "aliases": score(
            Matcher([*edits, *with_aliases]),
            [(name, text) for name, texts in ALIASES.items() for text in texts],
        ),
    }


def speed_ratio(
    matcher: Matcher, recipe: Recipe, names: Sequence[str], texts: dict[str, list[str]], sample: int
) -> dict[str, Any]:
    """Time of a 30-word text, the recipe's by the matcher's."""
    rng = random.Random(SEED)
    pool = [text for own in texts.values() for text in own]
    made = short_texts(rng.sample(pool, len(pool)), names, rng)
    result: dict[str, Any] = {}
    kinds = {"no name": made[2::4], "a name": made[::4], "a misspelt name": made[1::4]}
    for kind, own in kinds.items():
        ours = timed(matcher, own[: 10 * sample], 5)
        theirs = timed(recipe, own[:sample], 1)
        result[kind] = {
            "median_ratio": round(median(theirs) / median(ours)),
            "mean_ratio": round(mean(theirs) / mean(ours)),
            "matcher_median_us": round(1e6 * median(ours)),
            "recipe_median_us": round(1e6 * median(theirs)),
        }
    return result


def timed(call: Callable[[str], Any], texts: Iterable[str], repeats: int) -> list[float]:
    """Best of `repeats` for each text, in seconds."""
    times = []
    for text in texts:
        best = float("inf")
        for _ in range(repeats):
            started = time.perf_counter()
            call(text)
            best = min(best, time.perf_counter() - started)
        times.append(best)
    return times


def speed(
    paths: Sequence[Path], texts: dict[str, list[str]], count: int, *, fuzzy: bool
) -> dict[str, Any]:
    """Build time, memory above that of the edits, and time of a text, at `count` names."""
    rng = random.Random(SEED)
    data = [edit.subject for path in paths for edit in EditSet.load(path)]
    names = synthetic(sorted(set(data)), count, rng) if count > 20_000 else sorted(set(data))
    names = rng.sample(names, min(count, len(names)))
    edits = [Edit(str(number), name, name, "x") for number, name in enumerate(names)]
    before = _memory()
    started = time.perf_counter()
    matcher = Matcher(edits, PRESETS["relation" if fuzzy else "strict"])
    seconds = time.perf_counter() - started
    pool = [text for own in texts.values() for text in own]
    made = short_texts(rng.sample(pool, len(pool)), names, rng)[:1000]
    times = sorted(timed(matcher, made, 3))
    reworded = timed(lambda x: matcher.proposed(d := normalise(x), matcher.find(d)[0]), made, 3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "names": len(names),
        "fuzzy": fuzzy,
        "build_seconds": round(seconds, 2),
        "index_mib": round(_memory() - before),
        "peak_mib_above_edits": round(peak - before),
        "p50_us": round(1e6 * median(times)),
        "p90_us": round(1e6 * quantiles(times, n=10)[-1]),
        "p99_us": round(1e6 * quantiles(times, n=100)[-1]),
        "with_reworded_p50_us": round(1e6 * median(reworded)),
        "with_reworded_p99_us": round(1e6 * quantiles(reworded, n=100)[-1]),
        "texts": len(made),
    }


def _memory() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def in_own_process(count: int, kind: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--speed", str(count), kind]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(ran.stdout)
    print(row, flush=True)
    return row


if __name__ == "__main__":
    program(main)
