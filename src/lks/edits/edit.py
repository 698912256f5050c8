"""Edits: the facts that a user wants a model to state, and their JSONL files.

Standard library only, so that files can be checked anywhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from lks.edits.layouts import as_edit
from lks.edits.records import KEYS, Reader, kind_of
from lks.edits.text import entity_key, holds_words, same_text, same_wording
from lks.errors import EditFileError

SLOT = "{}"  # stands for the subject in a prompt


@dataclass(frozen=True)
class Probe:
    """A prompt beside the edit's own: locality (target optional) or portability.

    `held_out` probes are for scoring only; training never sees them.
    """

    prompt: str
    target: str | None = None
    held_out: bool = False


@dataclass(frozen=True)
class AnswerTest:
    """A prompt that tests an edit: what the model's answer must contain, and what it must not."""

    prompt: str
    must_contain: tuple[str, ...] = ()
    must_not_contain: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edit:
    """One fact: asked `prompt`, the model is to answer `target`.

    Prompts hold the subject itself: `{}` is filled in when the edit is made from a record.
    `paraphrases` and the locality probes that are not held out may be trained on; `generality`
    (held-out paraphrases) never is. Where one of the texts `negative` stands in a prompt, or is
    nearer to it than the edit's own wordings, the edit does not fire; `tests` are further prompts
    with what their answers must contain, never trained on; `threshold` is its own least
    score of the relation gate. With `exact` a target that was begun is said to its end
    (`lks.model.engine.guard`); None leaves it to the pack. `statement` is the fact as a whole
    sentence; an edit with `profile_of`, ids or keys of other edits, is their entity's profile (see
    `lks.edits.profiles`). `extra` keeps the unknown keys of the record.
    """

    id: str
    subject: str
    prompt: str
    target: str
    aliases: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()
    generality: tuple[str, ...] = ()
    locality: tuple[Probe, ...] = ()
    portability: tuple[Probe, ...] = ()
    negative: tuple[str, ...] = ()
    tests: tuple[AnswerTest, ...] = ()
    threshold: float | None = None
    exact: bool | None = None
    statement: str | None = None
    profile_of: tuple[str, ...] = ()
    ground_truth: str | None = None
    source: str | None = None
    note: str | None = None
    extra: dict[str, object] = field(default_factory=dict, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The subject and its aliases."""
        return (self.subject, *self.aliases)

    @property
    def key(self) -> str:
        """Names the content: an id made of subject, prompt and target."""
        return _content_id(self.subject, self.prompt, self.target)

    @property
    def training_locality(self) -> tuple[str, ...]:
        return tuple(probe.prompt for probe in self.locality if not probe.held_out)

    @property
    def heldout_locality(self) -> tuple[Probe, ...]:
        return tuple(probe for probe in self.locality if probe.held_out)

    @property
    def heldout_prompts(self) -> frozenset[str]:
        """Texts that training must not see, normalised by `same_wording`."""
        probes = [probe.prompt for probe in (*self.heldout_locality, *self.portability)]
        tests = [test.prompt for test in self.tests]
        return frozenset(map(same_wording, (*self.generality, *probes, *tests)))

    @property
    def question(self) -> tuple[str, ...]:
        """What two edits in force together cannot share: they would give one prompt two targets."""
        return (entity_key(self.subject), same_text(self.prompt), *self.profile_of)

    def to_record(self) -> dict[str, object]:
        """The JSON record of this edit: what `from_record` reads, empty fields left out."""
        record: dict[str, object] = {
            "id": self.id,
            "subject": self.subject,
            "prompt": self.prompt,
            "target": self.target,
        }
        for name in ("aliases", "paraphrases", "generality", "negative", "profile_of"):
            if getattr(self, name):
                record[name] = list(getattr(self, name))
        for name in ("locality", "portability"):
            if getattr(self, name):
                record[name] = [_probe_record(probe) for probe in getattr(self, name)]
        if self.tests:
            record["tests"] = [_test_record(test) for test in self.tests]
        for name in ("threshold", "exact", "statement", "ground_truth", "source", "note"):
            if getattr(self, name) is not None:
                record[name] = getattr(self, name)
        return record | self.extra

    @classmethod
    def from_record(cls, record: object, *, any_keys: bool = False) -> Edit:
        """Make an edit from a JSON record, of a file of edits or of a public set (`layouts`).

        Args:
            any_keys: keep keys that seem to be misspelt, too.

        Raises:
            EditFileError: with every problem of the record, not only the first.
        """
        return _read_record(record, any_keys)


def _probe_record(probe: Probe) -> dict[str, object]:
    record: dict[str, object] = {"prompt": probe.prompt}
    if probe.target is not None:
        record["target"] = probe.target
    if probe.held_out:
        record["held_out"] = True
    return record


def _test_record(test: AnswerTest) -> dict[str, object]:
    record: dict[str, object] = {"prompt": test.prompt}
    for name in ("must_contain", "must_not_contain"):
        if getattr(test, name):
            record[name] = list(getattr(test, name))
    return record


def _read_record(record: object, any_keys: bool) -> Edit:
    if not isinstance(record, dict):
        problem = f"must be a JSON object, not {kind_of(record)}"
        raise EditFileError(problem, [problem])
    record = as_edit(record)
    read = Reader(record, KEYS, any_keys)
    subject = read.text("subject", required=True)
    prompt = read.text("prompt", required=True)
    target = read.text("target", required=True)
    if subject and prompt and SLOT not in prompt and same_text(subject) not in same_text(prompt):
        read.problems.append(
            f'subject "{subject}" is not in the prompt, and there is no {{}} in it'
        )
    own = {name: read.text(name) for name in ("id", "statement", "ground_truth", "source", "note")}
    lists = {name: read.texts(name) for name in ("aliases", "profile_of")}
    wordings = {name: read.texts(name) for name in ("paraphrases", "generality", "negative")}
    threshold, locality = read.share("threshold"), read.probes("locality")
    exact, portability = read.flag("exact"), read.probes("portability", target_required=True)
    tests = read.tests("tests")

    def fill(text: str) -> str:
        return text.replace(SLOT, subject or SLOT)

    if prompt and not any_keys:  # a stored edit was checked when it was made
        read.problems += [
            f'negative "{text}" stands in the prompt, so that the edit would never fire'
            for text in wordings["negative"]
            if holds_words(fill(prompt), fill(text))
        ]
    if read.problems or not (subject and prompt and target):
        raise EditFileError("; ".join(read.problems), read.problems)

    statement, prompt = own["statement"], fill(prompt)
    return Edit(
        id=own["id"] or _content_id(subject, prompt, target),
        subject=subject,
        prompt=prompt,
        target=target,
        aliases=lists["aliases"],
        paraphrases=tuple(map(fill, wordings["paraphrases"])),
        generality=tuple(map(fill, wordings["generality"])),
        locality=tuple(Probe(fill(text), aim, kept) for text, aim, kept in locality),
        portability=tuple(Probe(fill(text), aim, kept) for text, aim, kept in portability),
        negative=tuple(map(fill, wordings["negative"])),
        tests=tuple(
            AnswerTest(fill(text), tuple(map(fill, wanted)), tuple(map(fill, unwanted)))
            for text, wanted, unwanted in tests
        ),
        threshold=threshold,
        exact=exact,
        statement=statement and fill(statement),
        profile_of=lists["profile_of"],
        ground_truth=own["ground_truth"],
        source=own["source"],
        note=own["note"],
        extra={key: value for key, value in record.items() if key not in KEYS},
    )


def _content_id(*parts: str) -> str:
    return "e-" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:8]
