"""A text that a model writes, looked through word by word: its own words may ask for facts too.

"Tell me about Rome": "... Its tallest tower is the Eiffel Tower, which stands in". There the prompt
and what is written so far are read again, with the edit's block in; the model writes the target,
and then goes on without the block. All that it wrote before stays, and what follows is its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from lks.blocks.in_force import InForce, Located
from lks.edits.text import entity_key, same_text
from lks.model.chat import Piece, Rendered
from lks.model.detokenizer import Detokenizer
from lks.model.encoding import Tokens
from lks.model.offsets import Offsets
from lks.model.untyped import Tokenizer
from lks.scope.normalizer import spaceless
from lks.scope.types import Finding

MOST_CHANGES = 16  # times that one text is taken up anew
SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s|\n|(?<=[。！？])(?=.)")
A_FEW = 8  # tokens around a target
PATIENCE = 40  # characters within which a target is begun; else the block is taken out again
SURE = 0.15  # above the gate's threshold: of half a sentence ("it is a") more is asked


@dataclass(frozen=True, eq=False)
class Looking:
    """How texts are looked through; what is found in one is `Located`.

    Attributes:
        roles: whose messages count.
        exact: of edits that do not say it themselves.
    """

    in_force: InForce
    roles: Sequence[str]
    exact: bool
    tokenizer: Tokenizer
    special_ids: Collection[int]

    def __call__(self, texts: Sequence[Rendered], offsets: Sequence[Offsets]) -> list[Located]:
        return self.in_force.located(texts, offsets, self.roles, exact=self.exact)

    def may_fire(self, text: str) -> set[str]:
        """Ids of the edits of all entities that a text names, or may name."""
        return self.in_force.scope.may_fire([text])

    def stated(self, edit_ids: Iterable[str]) -> set[str]:
        """Ids of the edits whose facts these state: a profile states all of its entity."""
        edits, found = self.in_force.edits, {*edit_ids}
        profiled = {entity_key(edits[e].subject) for e in found if edits[e].profile_of}
        if profiled:
            found |= {e for e, edit in edits.items() if entity_key(edit.subject) in profiled}
        return found

    def targets(self, edit_ids: Iterable[str]) -> list[str]:
        return [self.in_force.edits[edit_id].target for edit_id in edit_ids]


@dataclass(frozen=True)
class _Asked:
    """Edits that a sentence asks for up to a word, and how clearly.

    Attributes:
        length: tokens of the text up to there.
        text, located: as of `Growing`, with the edits in force.
        found: mentions of the edits.
    """

    edits: tuple[str, ...]
    score: float
    length: int
    text: Rendered
    located: Located
    found: Sequence[Finding]


@dataclass(frozen=True)
class _Stating:
    """Targets that are to be written, behind so many characters of the text."""

    targets: Sequence[str]
    start: int


class Growing:
    """One text while it is written.

    A word from which a sentence asks for an edit, the clearest one, is found when the next word
    asks less clearly: "is employed by", not "is employed". The sentence must name the entity. Each
    edit comes into force once in a text, and not if the prompt has fired it.

    Where the sentence names nobody else, a word costs a look for names alone.

    Args:
        text, tokens, located: the prompt's.
        chat: the text is a message of its own; else it goes on with the prompt.

    Attributes:
        text, located: what is in force behind prompt and text so far.
        written: the text's tokens.
        found: mentions in the text whose edits came into force.
    """

    def __init__(
        self, look: Looking, text: Rendered, tokens: Tokens, located: Located, *, chat: bool
    ) -> None:
        self._look, self._prompt, self._chat = look, text, chat
        self._prompt_ids, offsets = tokens
        self._offsets = [*offsets]
        self._of_prompt = self.located = located
        self.text = text
        self.written: list[int] = []
        self.found: list[Finding] = []
        self._waiting = 0  # of these, tokens of a character that is not whole yet
        self._said, self._reader = "", self._read([])
        self._known, self._changes = look.stated(located.stated), 0
        self._asked: _Asked | None = None
        self._stating: _Stating | None = None

    @property
    def roles(self) -> Sequence[str]:
        """Whose messages are looked through."""
        return self._look.roles

    @property
    def findings(self) -> list[Finding]:
        """Mentions in the prompt, and those in the text whose edits came into force."""
        return [*self._of_prompt.findings, *self.found]

    @property
    def settled(self) -> int:
        """How many of the tokens stand whatever follows."""
        return self._asked.length if self._asked else len(self.written) - self._waiting

    @property
    def most(self) -> float:
        """How many tokens more are worth writing at once: few while a target is to be said."""
        targets = self._stating.targets if self._stating else ()
        lengths = [len(self._look.tokenizer(target).input_ids) for target in targets]
        return max(lengths) + A_FEW if lengths else float("inf")

    @property
    def tokens(self) -> Tokens:
        """Of prompt and text."""
        return [*self._prompt_ids, *self.written], self._offsets

    def take(self, token: int) -> bool:
        """Add a token; True if other edits are in force from the text's settled tokens on.

        Then `written` ends there, and what follows is to be written anew.
        """
        self.written.append(token)
        self._waiting += 1
        new = self._reader.add(token)
        if self._reader.waits:
            return False
        waited, self._waiting = self._waiting, 0
        over = token in self._look.special_ids
        if (over or _ends_word(self._said, new)) and self._changes < MOST_CHANGES:
            length = len(self.written) - waited
            changed = self._told(length, over=over) if self._stating else self._found(length, over)
            if changed:
                self._changes += 1
                return True
        start = len(self._prompt.text) + len(self._said)
        self._offsets += [(start, start + len(new))] * waited
        self._said += new
        return False

    def _read(self, written: Sequence[int]) -> Detokenizer:
        """What has read the text so far.

        It begins with the prompt's last token: some tokenizers write no space before a first one.
        """
        reader = Detokenizer(self._look.tokenizer, clean_up=False)
        for token in [*self._prompt_ids[-1:], *written]:
            reader.add(token)
        return reader

    def _back_to(self, length: int) -> None:
        """Leave all tokens behind these out."""
        self.written = self.written[:length]
        self._offsets = self._offsets[: len(self._prompt_ids) + length]
        end = self._offsets[-1][1] if length else len(self._prompt.text)
        self._said = self._said[: end - len(self._prompt.text)]
        self._reader, self._waiting, self._asked = self._read(self.written), 0, None

    # --- looking for what is asked

    def _found(self, length: int, over: bool) -> bool:
        """Whether the text asked for an edit, more clearly than it does now."""
        asked = None if over else self._asks(length)
        before = self._asked
        if before is None or (asked is not None and asked.score > before.score):
            self._asked = asked
            return False
        self._back_to(before.length)
        self._known |= {*before.edits}
        self.found += before.found
        self._stating = _Stating(self._look.targets(before.edits), len(self._said))
        self.text, self.located = before.text, before.located
        return True

    def _asks(self, length: int) -> _Asked | None:
        """What the sentence asks for that is being written, of edits that have not fired yet."""
        text = self._grown()
        start = max(_last_start(text.text), text.pieces[-1].start)
        sentence = replace(text.pieces[-1], start=start)
        if sentence.role not in self.roles:
            return None
        if self._look.may_fire(text.said(sentence)) <= self._known:
            return None
        (now,) = self._look([replace(text, pieces=(sentence,))], [self._offsets])
        places = [
            (token, [e for e in own if isinstance(e, str) and e not in self._known])
            for token, own in now.places
        ]
        new = dict.fromkeys(edit_id for _, own in places for edit_id in own)
        found = [f for f in now.findings if not new.keys().isdisjoint(f.mention.edit_ids)]
        score = max((_sureness(finding, new) for finding in found), default=-1.0)
        if score < 0:
            return None
        whole, _ = text.scanned(self.roles)
        found = [_moved(one, len(whole) - len(text.said(sentence))) for one in found]
        located = Located(
            [*self._of_prompt.findings, *found],
            [*self._of_prompt.places, *(place for place in places if place[1])],
            list(dict.fromkeys([*self._of_prompt.targets, *now.targets])),
        )
        return _Asked((*new,), score, length, text, located, found)

    def _grown(self) -> Rendered:
        """The prompt with the text so far: the assistant's, or more of what was begun."""
        before, end = self._prompt, len(self._prompt.text) + len(self._said)
        pieces, start = [*before.pieces], len(before.text)
        if self._chat or not pieces or pieces[-1].end < start:
            number = pieces[-1].message + 1 if pieces else 0
            pieces.append(Piece(start, end, "assistant", message=number))
        else:
            pieces[-1] = replace(pieces[-1], end=end)
        return replace(before, text=before.text + self._said, pieces=(*pieces,), begun=start)

    # --- writing a target

    def _told(self, length: int, *, over: bool) -> bool:
        """Whether a target was written that was to be, or was not when it should have been."""
        assert self._stating is not None
        said, targets = self._said[self._stating.start :], self._stating.targets
        whole = any(_ends_with(said, target) for target in targets)
        patience = PATIENCE + max(map(len, targets), default=0)
        if not (whole or over or len(said) > patience):
            return False
        self._back_to(length)
        self._stating = None
        self.text, self.located = self._grown(), self._of_prompt
        return True


def _moved(finding: Finding, by: int) -> Finding:
    """A mention so many characters further behind."""
    mention = finding.mention
    return replace(
        finding, mention=replace(mention, start=mention.start + by, end=mention.end + by)
    )


def _last_start(text: str) -> int:
    """Where the last sentence begins."""
    return max((match.end() for match in SENTENCE_END.finditer(text)), default=0)


def _sureness(finding: Finding, edits: Collection[str]) -> float:
    """How far above what is needed a mention's edits score; without a gate, 0."""
    own = [d for d in finding.decisions if d.fired and d.edit_id in edits]
    return max((d.score - d.threshold - SURE for d in own), default=0.0)


def _ends_with(text: str, target: str) -> bool:
    """Whether a text, at the end of a word, ends with a target, but for signs behind that."""
    words = same_text(target)
    return same_text(text).endswith(words) if words[-1:].isalnum() else words in same_text(text)


def _ends_word(before: str, new: str) -> bool:
    """Whether a word ends between two parts of a text."""
    if not before[-1:].isalnum() or not new:
        return False
    return not new[0].isalnum() or (spaceless(before[-1]) and spaceless(new[0]))
