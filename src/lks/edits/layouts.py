"""Records as the public sets of the field write them, told by their keys, read as records of edits.

What a set asks beside a fact's own prompt is held out. Keys that a layout does not read stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from lks.errors import EditFileError

Record = Mapping[str, object]
_NO_TRUTH = "<|endoftext|>"  # what KnowEdit has for a true answer that is not known


@dataclass(frozen=True)
class Layout:
    """The keys of a set for those of edits; of several the first that a record has.

    Attributes:
        tells: keys by which a record is known.
        names: for a key of edits, what it is called here.
        locality, answers: what the questions about other things, and their answers, are called.
        yes: what a question is called whose answer is yes once the fact holds.
    """

    tells: frozenset[str]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    locality: tuple[str, ...] = ("locality_prompt",)
    answers: tuple[str, ...] = ("locality_ground_truth",)
    yes: str = ""


# Keys that tell more come first.
LAYOUTS = (
    Layout(  # CounterFact, its `requested_rewrite` opened by `_opened`
        frozenset({"subject", "prompt", "target_new", "neighborhood_prompts"}),
        {"id": ("case_id",), "target": ("target_new",), "ground_truth": ("target_true",),
         "generality": ("paraphrase_prompts",)},
        ("neighborhood_prompts",),
    ),
    Layout(  # KnowEdit, LocFT and others in the layout of EasyEdit
        frozenset({"subject", "prompt", "target_new"}),
        {"target": ("target_new",), "ground_truth": ("ground_truth",),
         "generality": ("rephrase_prompt", "rephrase")},
    ),
    Layout(  # ZsRE as split for MEND
        frozenset({"subject", "src", "alt"}),
        {"prompt": ("src",), "target": ("alt",), "generality": ("rephrase",)},
        ("loc",), ("loc_ans",),
    ),
    Layout(  # HalluEditBench
        frozenset({"subject", "question", "object"}),
        {"prompt": ("question",), "target": ("object",),
         "generality": ("paraphrased_question", "paraphrased")},
        ("locality_question", "locality"),
        yes="yes_question",
    ),
)  # fmt: skip


def layout_of(keys: Collection[str]) -> Layout | None:
    """The layout of records with these keys; None for that of edits, or an unknown one."""
    if "target" in keys:
        return None
    return next((own for own in LAYOUTS if own.tells <= set(keys)), None)


def as_edit(record: Record) -> Record:
    """The record in the keys of edits; itself if it has them, or a layout that is not known.

    Raises:
        EditFileError: questions by kind, as of KnowEdit, that are not in the form of the set.
    """
    opened = _opened(record)
    layout = layout_of(opened)
    if layout is None:
        return record
    found: dict[str, object] = {}
    read = {"portability", "locality"}
    for name, keys in (*layout.names.items(), ("", layout.locality), ("", layout.answers)):
        key = next((key for key in keys if opened.get(key) is not None), None)
        read |= set(keys)
        if name and key is not None:
            found[name] = _first(opened[key]) if name != "generality" else opened[key]
    if "id" in found:
        found["id"] = str(found["id"])  # case_id is a number
    if found.get("ground_truth") == _NO_TRUTH:
        del found["ground_truth"]
    kinds: dict[str, list[object]] = {}
    followed = [p for p in _of_kinds(opened, "portability", kinds) if p.get("target") is not None]
    others = [*_others(opened, layout), *_of_kinds(opened, "locality", kinds)]
    found |= {"portability": followed} if followed else {}
    found |= {"locality": [{**probe, "held_out": True} for probe in others]} if others else {}
    found |= {"kinds": kinds} if kinds else {}
    if opened.get(layout.yes) is not None:
        found["tests"] = [{"prompt": opened[layout.yes], "must_contain": "Yes"}]
    return {key: value for key, value in opened.items() if key not in read} | found


def _opened(record: Record) -> Record:
    """A record of CounterFact without the objects in it, any other as it is."""
    inner = record.get("requested_rewrite")
    if not isinstance(inner, Mapping):
        return record
    texts = {key: _text_of(value) for key, value in inner.items()}
    return {key: own for key, own in record.items() if key != "requested_rewrite"} | texts


def _text_of(value: object) -> object:
    return value["str"] if isinstance(value, Mapping) and "str" in value else value


def _first(value: object) -> object:
    """An answer, the first one where there are several; None where there is none."""
    while isinstance(value, list):
        value = value[0] if value else None
    return value


def _others(record: Record, layout: Layout) -> Iterator[dict[str, object]]:
    """Questions about other things that stand by themselves, each with its answer if it has one."""
    asked = next((v for key in layout.locality if isinstance(v := record.get(key), str | list)), [])
    answer = next((record[key] for key in layout.answers if record.get(key) is not None), None)
    for prompt in [asked] if isinstance(asked, str) else asked:
        yield _probe(prompt, answer)


def _probe(prompt: object, answer: object) -> dict[str, object]:
    answer = _first(answer)
    return {"prompt": prompt} if answer in (None, "") else {"prompt": prompt, "target": answer}


def _of_kinds(
    record: Record, name: str, kinds: dict[str, list[object]]
) -> Iterator[dict[str, object]]:
    """Questions that stand by their kind, which is noted: objects, or lists side by side."""
    asked = record.get(name)
    for kind, own in asked.items() if isinstance(asked, Mapping) else ():
        for prompt, answer in _pairs(f'{name}: "{kind}"', own):
            kinds.setdefault(kind, []).append(prompt)
            yield _probe(prompt, answer)


def _pairs(name: str, own: object) -> list[tuple[object, object]]:
    try:
        if isinstance(own, Mapping):
            return list(zip(own["prompt"], own["ground_truth"], strict=True))
        if isinstance(own, list):
            return [(each["prompt"], each.get("ground_truth")) for each in own]
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    problem = f'{name} must hold "prompt" and "ground_truth", as objects or as two lists'
    raise EditFileError(problem, [problem])
