"""Other wordings of a prompt that a language model writes, and what is kept of them.

Small models answer the prompt, or ask for another thing. So each text is judged by what can be told
of it; a person should read what is left.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path

from lks import files
from lks.edits.edit import SLOT, Edit
from lks.edits.text import same_wording
from lks.model.backbone import Backbone
from lks.model.chat import Message, Prompt
from lks.model.embedder import CachedEmbedder
from lks.model.engine import transformers
from lks.scope.bank.relations import bank
from lks.scope.scope import Scope
from lks.training.prompts import taken_wordings, template
from lks.training.templates import masked
from lks.training.wordings import Wordings

REQUESTS = {  # by register of the bank: what a model is asked to do with a prompt
    "question": "Ask for the same thing in one full question, in other words.",
    "casual": "Ask for the same thing as people type it in a hurry: short, in lower case.",
    "completion": "Write another beginning of a sentence that asks for the same thing, and stop "
    "right before the answer.",
    "instruction": "Ask for the same thing as an order, in one sentence.",
}
BEGINNING = "completion"
# Examples are of the bank: a relation, somebody it is asked of, and the register of the prompt.
EXAMPLES = (
    ("organisation: chief executive", "Zentec", "completion"),
    ("person: place of birth", "Maria Lind", "question"),
    ("product: list price", "Kettle 3", "completion"),
)
LONGEST = 48  # tokens of an answer
AT_ONCE = 4  # facts that a model is asked about before its answers are kept

Pairs = Sequence[tuple[str, str]]

_WORD = re.compile(r"\w+")
_QUOTED = re.compile(r"[\"'“„«‘`](.*)[\"'”“»’`]")
_OPEN_ENDS = " .…_:-"  # what a beginning may end in, and is then cut off


class Refusal(StrEnum):
    """Why a text is no wording."""

    LINES = "is not one line"
    SUBJECT = "does not name the subject, once"
    KNOWN = "stands there already, or is another fact's, held out, or must stay"
    ANSWERS = "answers the prompt"
    OTHER = "asks for something else"


def answers(
    backbone: Backbone,
    edits: Sequence[Edit],
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[list[str]]:
    """What a model makes of each edit's prompt, a text for each of `REQUESTS`, in their order.

    They are written greedily, and kept in the cache folder: a model is asked once for each prompt.

    Args:
        on_progress: told after each few edits how many are done.
    """
    chat = backbone.has_chat
    examples = _examples()
    asked = [
        [_request(edit.prompt, kind, examples[kind], chat) for kind in REQUESTS] for edit in edits
    ]
    kept = [_file(backbone, own) for own in asked]
    found = [_read(file) for file in kept]
    new = [i for i, own in enumerate(found) if own is None]
    for start in range(0, len(new), AT_ONCE):
        some = new[start : start + AT_ONCE]
        written = transformers.generate(
            backbone,
            [request for i in some for request in asked[i]],
            lambda encoding: nullcontext(),
            chat=chat,
            max_new_tokens=LONGEST,
        )
        # a text that is gone on with has further examples on its next lines
        texts = iter(one.text if chat else one.text.partition("\n")[0] for one in written)
        for i in some:
            found[i] = own = [next(texts) for _ in REQUESTS]
            _keep(kept[i], own)
        on_progress(start + len(some))
    return [own or [] for own in found]


class Judge:
    """Tells which texts of a model ask what an edit's prompt asks.

    Args:
        edits: all of the file: one's wordings must not ask for another.
    """

    def __init__(self, edits: Sequence[Edit], embed: CachedEmbedder) -> None:
        self._names, self._taken, self._embed = Scope(edits), taken_wordings(edits), embed
        self._endings = _endings()

    def kept(self, one: Wordings, texts: Sequence[str]) -> tuple[list[str], Counter[Refusal]]:
        """The wordings among what a model wrote for a fact, a text for each of `REQUESTS`; how
        many of the others were refused, and why."""
        edit = one.edit
        others = (*one.known, *edit.training_locality, *edit.negative)
        known = {*map(same_wording, others)} | self._taken
        kept: list[str] = []
        refused = Counter[Refusal]()
        for register, text in zip(REQUESTS, texts, strict=True):
            wording = _cleaned(text, register, edit.subject)
            if why := self._refusal(edit, register, wording, known):
                refused[why] += 1
            else:
                kept.append(wording)
                known.add(same_wording(wording))
        return kept, refused

    def _refusal(self, edit: Edit, register: str, text: str, known: set[str]) -> Refusal | None:
        if not text or len(text.splitlines()) > 1:
            return Refusal.LINES
        form = _whole(edit.subject).sub(SLOT, text)
        fired = (edit_id for found in self._names.fired([text])[0] for edit_id in found.edit_ids)
        if form.count(SLOT) != 1 or edit.id not in fired:
            return Refusal.SUBJECT
        if same_wording(text) in known:
            return Refusal.KNOWN
        if _whole(edit.target).search(form) or self._goes_on(edit, register, text):
            return Refusal.ANSWERS
        asked = template(edit.prompt, edit.subject)
        one, other = self._embed([masked(asked), masked(form)])
        return None if float(one @ other) >= self._embed.same else Refusal.OTHER

    def _goes_on(self, edit: Edit, register: str, text: str) -> bool:
        """Whether a text is the prompt and more, or a beginning that ends neither in a word of the
        prompt nor in one that beginnings of the bank end in."""
        prompt = same_wording(edit.prompt)
        if same_wording(text).startswith(prompt) and not edit.prompt.rstrip().endswith("?"):
            return True
        last = (_words(text) or [""])[-1]
        return register == BEGINNING and last not in {*_words(prompt), *self._endings}


def _cleaned(text: str, register: str, subject: str) -> str:
    """Without quotes around it, and with the subject as its edit has it."""
    quoted = _QUOTED.fullmatch(text.strip())
    text = quoted[1] if quoted else text.strip()
    if register == BEGINNING:
        text = text.rstrip(_OPEN_ENDS)
    return _whole(subject).sub(lambda found: subject, text)


def _whole(name: str) -> re.Pattern[str]:
    """A name as a whole word, in any case; languages without spaces have no whole words."""
    return re.compile(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", re.IGNORECASE)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _endings() -> frozenset[str]:
    """The last words of the bank's beginnings, in all its languages."""
    relations = bank()
    english = [text for own in relations for text in own.asked[BEGINNING]]
    others = [texts[-1] for own in relations for texts in own.translated.values()]
    return frozenset(words[-1] for words in map(_words, (*english, *others)) if words)


def _examples() -> dict[str, list[tuple[str, str]]]:
    """By register, pairs of a prompt and another wording of it."""
    relations = {relation.title: relation.asked for relation in bank()}
    return {
        register: [
            (
                relations[title][asked][0].replace(SLOT, name),
                relations[title][register][-1 if register == asked else 0].replace(SLOT, name),
            )
            for title, name, asked in EXAMPLES
        ]
        for register in REQUESTS
    }


def _request(prompt: str, register: str, examples: Pairs, chat: bool) -> Prompt:
    """A request to rephrase a prompt, after examples: the turns of a chat, or a text to go on."""
    if not chat:
        shown = [f"Text: {asked}\nRephrased: {answer}" for asked, answer in examples]
        return "\n\n".join([REQUESTS[register], *shown, f"Text: {prompt}\nRephrased:"])
    turns: list[Message] = []
    for asked, answer in (*examples, (prompt, "")):
        turns.append({"role": "user", "content": f"{REQUESTS[register]}\n{asked}"})
        turns.append({"role": "assistant", "content": answer})
    return turns[:-1]


def _file(backbone: Backbone, requests: Sequence[Prompt]) -> Path:
    """Where the answers of a model to these very requests are kept."""
    read = [text.text for text in transformers.rendered(backbone, requests, chat=backbone.has_chat)]
    told = json.dumps([backbone.fingerprint.to_json(), read, LONGEST], sort_keys=True)
    name = hashlib.sha256(told.encode()).hexdigest()[:24]
    return files.cache_dir() / "rephrased" / f"{name}.json"


def _read(file: Path) -> list[str] | None:
    """Kept answers; None where there are none, or not whole ones."""
    try:
        kept: list[str] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept


def _keep(file: Path, texts: Sequence[str]) -> None:
    with contextlib.suppress(OSError):  # it is only a matter of time
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(file, json.dumps(texts, ensure_ascii=False).encode())
