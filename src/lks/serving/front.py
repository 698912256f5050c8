"""What a prompt is to an engine: its tokens, and what is in force for them.

The scope looks at a prompt once. What fires there, and at which tokens, is what the engine is given
and what an answer tells. `Watched` does the same with the text that is written behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from lks.blocks.growing import Growing, Looking
from lks.blocks.in_force import Located
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.chat import ROLES, Message, Piece, Prompt, Rendered, messages
from lks.model.detokenizer import with_offsets
from lks.model.offsets import Offsets
from lks.model.untyped import Tokenizer
from lks.scope.types import Finding, ids
from lks.serving.protocol import Blocks, EngineRequest, Step
from lks.serving.service import Snapshot


@dataclass(frozen=True)
class Found:
    """A mention of an edited entity, and what was decided of it.

    Attributes:
        message: which message of the chat it stands in, the first is 0; 0 for a plain prompt.
        start, end: characters of the message's own content, or of the prompt.
    """

    finding: Finding
    message: int
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Reading:
    """One prompt, ready for an engine; attributes as of `EngineRequest`.

    Attributes:
        watch: looks through the text of a request as it grows; None where nothing can fire.
    """

    ids: Sequence[int]
    blocks: Blocks | None = None
    targets: Sequence[str] = ()
    found: Sequence[Found] = ()
    watch: Callable[[EngineRequest], Watched] | None = None

    @property
    def fired(self) -> tuple[str, ...]:
        """Ids of the edits that fire, each once."""
        mentions = (own.finding.mention for own in self.found)
        return tuple(ids(mention for mention in mentions if mention.fired))


class Watched:
    """A text on its way from an engine: where its own words fire edits, it is taken up anew.

    Args:
        said: the chat's messages; None for a plain prompt.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        growing: Growing,
        request: EngineRequest,
        said: Sequence[Message] | None,
    ) -> None:
        self._snapshot, self._growing = snapshot, growing
        self._request, self._said = request, said
        self._held: list[Step] = []  # what may be taken back

    @property
    def found(self) -> list[Found]:
        """Mentions whose edits came into force while the text was written, in order."""
        growing = self._growing
        return _all_found(growing.found, growing.text, self._said, growing.roles)

    def take(self, step: Step) -> tuple[Sequence[Step], EngineRequest | None]:
        """The steps that can be told now, and the request with which the text goes on behind them,
        in place of all that the engine still tells; None while that holds."""
        growing = self._growing
        before = len(growing.written) - len(self._held)
        self._held.append(step)
        anew = growing.take(step.token)
        settled = len(growing.written) if step.finish and not anew else growing.settled
        told, self._held = self._held[: settled - before], self._held[settled - before :]
        if not anew:
            return told, None
        self._held.clear()
        return told, self._anew()

    def _anew(self) -> EngineRequest:
        own, growing = self._request, self._growing
        n = len(growing.written)
        return replace(
            own,
            ids=growing.tokens[0],
            sampling=replace(own.sampling, max_tokens=own.sampling.max_tokens - n),
            blocks=_blocks(self._snapshot, growing.located),
            targets=growing.located.targets,
            written=n,
        )


def read(
    backbone: Backbone,
    snapshot: Snapshot | None,
    prompt: Prompt | Sequence[int],
    *,
    chat: bool = False,
    roles: Sequence[str] = ROLES,
) -> Reading:
    """What is in force for a prompt: what `ScalpelModel.respond` does with it, place by place.

    Args:
        snapshot: None for the unedited model.
        prompt: a text, messages (with `chat`), or token ids. Of these the text is looked through
            between special tokens; who said what is not known.
        roles: whose messages are looked through.

    Raises:
        InputError: the prompt is none, or the chat template refuses it.
    """
    if tokens := _tokens(backbone, prompt):
        if _unread(backbone, snapshot, tokens):
            return Reading(tokens)
        return read_tokens(backbone.tokenizer, backbone.special_ids, snapshot, tokens, roles=roles)
    given: Prompt = prompt  # type: ignore[assignment]
    text = backbone.render(given, chat=chat)
    tokens, offsets = backbone.tokenize(text, chat=chat)
    if _unread(backbone, snapshot, tokens):
        return Reading(tokens)
    said = messages(given) if chat else None
    tokenizer, special = backbone.tokenizer, backbone.special_ids
    return _reading(tokenizer, special, snapshot, tokens, text, offsets, said, roles)


def read_tokens(
    tokenizer: Tokenizer,
    special_ids: Collection[int],
    snapshot: Snapshot | None,
    tokens: Sequence[int],
    *,
    roles: Sequence[str] = ROLES,
) -> Reading:
    """The same for a prompt of tokens; there need be no backbone."""
    text, offsets = _of_tokens(tokenizer, special_ids, tokens)
    return _reading(tokenizer, special_ids, snapshot, tokens, text, offsets, None, roles)


def _reading(
    tokenizer: Tokenizer,
    special_ids: Collection[int],
    snapshot: Snapshot | None,
    tokens: Sequence[int],
    text: Rendered,
    offsets: Offsets,
    said: Sequence[Message] | None,
    roles: Sequence[str],
) -> Reading:
    if snapshot is None:
        return Reading(tokens)
    look = Looking(snapshot.in_force, roles, snapshot.exact, tokenizer, special_ids)
    (own,) = look([text], [offsets])
    found = _all_found(own.findings, text, said, roles)

    def watch(request: EngineRequest) -> Watched:
        growing = Growing(look, text, (list(tokens), offsets), own, chat=said is not None)
        return Watched(snapshot, growing, request, said)

    return Reading(tokens, _blocks(snapshot, own), own.targets, found, watch)


def _unread(backbone: Backbone, snapshot: Snapshot | None, tokens: Sequence[int]) -> bool:
    """Whether nothing can fire: of the unedited model, or in what no engine takes."""
    limit = backbone.context
    return snapshot is None or (limit is not None and len(tokens) > limit)


def _blocks(snapshot: Snapshot, own: Located) -> Blocks | None:
    if not own.places:
        return None
    bank = snapshot.in_force.bank
    values = bank.pooled([blocks for _, blocks in own.places])
    positions = [token for token, _ in own.places]
    return Blocks(positions, values, snapshot.layers, bank.form, bank.scale)


def _all_found(
    findings: Iterable[Finding],
    text: Rendered,
    said: Sequence[Message] | None,
    roles: Sequence[str],
) -> list[Found]:
    spoken = text.spoken(roles)
    return [_found(finding, text, said, spoken) for finding in findings]


def _found(
    finding: Finding,
    text: Rendered,
    said: Sequence[Message] | None,
    spoken: Callable[[int], tuple[Piece, int]],
) -> Found:
    """Where in a message a mention stands, or in the prompt where there are none."""
    mention = finding.mention
    piece, first = spoken(mention.start)
    start, end = mention.start - first, mention.end - first
    if said is None:
        return Found(finding, 0, *piece.placed(start, end))
    if piece.message == len(said):  # the answer
        return Found(finding, piece.message, start, end)
    # A chat template may have taken white space away.
    shift = max(0, said[piece.message]["content"].find(text.said(piece)))
    return Found(finding, piece.message, start + shift, end + shift)


def _tokens(backbone: Backbone, prompt: Prompt | Sequence[int] | Sequence[Message]) -> list[int]:
    """The prompt's token ids, if it is given in tokens."""
    if isinstance(prompt, str) or not all(isinstance(token, int) for token in prompt):
        return []
    known = len(backbone.tokenizer)
    if unknown := [token for token in prompt if not 0 <= int(token) < known]:  # type: ignore[arg-type]
        raise InputError(f"no token {unknown[0]}; this model's are 0 to {known - 1}")
    return list(prompt)  # type: ignore[arg-type]


def _of_tokens(
    tokenizer: Tokenizer, special_ids: Collection[int], tokens: Sequence[int]
) -> tuple[Rendered, Offsets]:
    """The text of tokens, with a piece for each part between special ones."""
    text, offsets = with_offsets(tokenizer, tokens)
    pieces = list[Piece]()
    for token, (start, end) in zip(tokens, offsets, strict=True):
        if token in special_ids:
            continue
        if pieces and pieces[-1].end >= start:
            pieces[-1] = replace(pieces[-1], end=end)
        else:
            pieces.append(Piece(start, end))
    return Rendered(text, tuple(pieces)), offsets
