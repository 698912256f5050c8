"""Editors that write facts into the prompt. Weights and hidden states stay as they are.

`Inject` takes the facts of the edits that a scope fires, `Retrieve` those nearest to the prompt,
`Demonstrate` the nearest one and other edits as examples of how to use it.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, Unpack

import numpy as np
from numpy.typing import NDArray

from lks.editors.baselines.base import EditListModel
from lks.editors.places import never_located
from lks.editors.protocol import Surroundings
from lks.edits.edit import Edit
from lks.edits.edit_set import EditSet
from lks.errors import InputError
from lks.model.backbone import Backbone
from lks.model.chat import Prompt, messages
from lks.model.embedder import DEFAULT, Embedder
from lks.model.engine.protocol import Generation, Score, ScoreOptions
from lks.model.untyped import Setting
from lks.scope.scope import Scope
from lks.scope.types import ids

FACT = "New fact: {}\n"
QUESTION = "Prompt: "
DEMONSTRATIONS = 1_000  # rows that may demonstrate, in a comparison


class PromptedModel(EditListModel):
    """A backbone that reads something before each prompt, or before a chat's last user turn."""

    @abstractmethod
    def contexts(self, texts: Sequence[str]) -> list[str]:
        """What goes before each text; an empty string leaves it as it is."""

    def stored_bytes(self) -> int:
        return sum(len(fact(edit).encode()) for edit in self.edits)

    def score(
        self, pairs: Sequence[tuple[Prompt, str]], **options: Unpack[ScoreOptions]
    ) -> list[Score]:
        prompts = self._with_contexts([prompt for prompt, _ in pairs])
        targets = [target for _, target in pairs]
        return super().score(list(zip(prompts, targets, strict=True)), **options)

    def respond(self, prompts: Sequence[Prompt], **options: Setting) -> list[Generation]:
        return super().respond(self._with_contexts(prompts), **options)

    def triggered(self, prompts: Sequence[Prompt], *, chat: bool = False) -> list[bool]:
        return [bool(context) for context in self.contexts([_text(p) for p in prompts])]

    def _with_contexts(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        contexts = self.contexts([_text(prompt) for prompt in prompts])
        return [_preceded(*pair) for pair in zip(prompts, contexts, strict=True)]


def fact(edit: Edit) -> str:
    """An edit as a sentence: its prompt and its target."""
    return f"{edit.prompt.strip()} {edit.target.strip()}"


class _Injecting(PromptedModel):
    def __init__(
        self,
        backbone: Backbone,
        edits: Iterable[Edit],
        scope: Callable[[Sequence[Edit]], Scope],
    ) -> None:
        self._scope_of = scope
        super().__init__(backbone, edits)

    def put_in_force(self, edits: EditSet) -> None:
        self._scope = self._scope_of(edits)

    def contexts(self, texts: Sequence[str]) -> list[str]:
        fired = (ids(mentions) for mentions in self._scope.fired(texts))
        return ["".join(FACT.format(fact(self.edits.by_id(i))) for i in own) for own in fired]


class Inject:
    """The facts that the scope fires, as text: LKS without knowledge blocks.

    Args:
        scope: makes the scope of a set of edits; every mention of an entity if not given.
    """

    name = "inject"
    unlocated = staticmethod(never_located)

    def __init__(self, scope: Callable[[Sequence[Edit]], Scope] = Scope) -> None:
        self._scope = scope

    def for_comparison(self, around: Surroundings) -> Inject:
        """With the scope that LKS has."""
        return Inject(around.scope_of)

    @contextmanager
    def apply(self, backbone: Backbone, edits: Iterable[Edit]) -> Iterator[PromptedModel]:
        yield _Injecting(backbone, edits, self._scope)


class _Index(Protocol):
    @property
    def nbytes(self) -> int:
        """Of what it keeps of the documents, beside their text."""
        ...

    def nearest(self, texts: Sequence[str], k: int) -> NDArray[np.intp]:
        """Numbers of the k nearest documents to each text, [n, k], the nearest first."""
        ...


class _Dense:
    """Cosine between sentence embeddings."""

    def __init__(self, documents: Sequence[str], embedder: Embedder) -> None:
        self._embed = embedder
        self._vectors = embedder(documents)

    @property
    def nbytes(self) -> int:
        return self._vectors.nbytes

    def nearest(self, texts: Sequence[str], k: int) -> NDArray[np.intp]:
        # Of equals the earlier document, whatever else is in the batch.
        return np.argsort(-(self._embed(texts) @ self._vectors.T), axis=1, kind="stable")[:, :k]


class _BM25:
    """Words in common, by bm25s (BM25 as in Lucene)."""

    def __init__(self, documents: Sequence[str]) -> None:
        try:
            import bm25s
        except ImportError as error:
            raise InputError(
                'BM25 needs bm25s: pip install "latent-knowledge-scalpel[baselines]"'
            ) from error
        self._tokens = bm25s.tokenization.Tokenizer(stopwords=None)
        self._index = bm25s.BM25()
        corpus = self._tokens.tokenize(list(documents), show_progress=False)
        self._index.index(corpus, show_progress=False)

    @property
    def nbytes(self) -> int:
        words = sum(len(word.encode()) for word in self._tokens.get_vocab_dict())
        scores = (self._index.scores[key] for key in ("data", "indices", "indptr"))
        return words + sum(int(array.nbytes) for array in scores)

    def nearest(self, texts: Sequence[str], k: int) -> NDArray[np.intp]:
        asked = self._tokens.tokenize(list(texts), update_vocab=False, show_progress=False)
        found, _ = self._index.retrieve(asked, k=k, show_progress=False)
        return np.asarray(found, np.intp)


class _Searching(PromptedModel):
    """Something found among the edits goes before every prompt."""

    def __init__(
        self,
        backbone: Backbone,
        edits: Iterable[Edit],
        index: Callable[[Sequence[str]], _Index],
        k: int,
    ) -> None:
        self._index_of, self._k = index, k
        super().__init__(backbone, edits)

    def put_in_force(self, edits: EditSet) -> None:
        self._index = self._index_of([fact(edit) for edit in edits]) if edits else None

    def stored_bytes(self) -> int:
        return super().stored_bytes() + (self._index.nbytes if self._index else 0)

    def contexts(self, texts: Sequence[str]) -> list[str]:
        if self._index is None or not texts:
            return [""] * len(texts)
        numbers = self._index.nearest(texts, min(self._k, len(self.edits)))
        return [self.written([self.edits[int(i)] for i in row]) for row in numbers]

    def written(self, found: Sequence[Edit]) -> str:
        """The context for edits, the nearest first."""
        return "".join(FACT.format(fact(edit)) for edit in reversed(found))


class Retrieve:
    """The k facts nearest to the prompt, the nearest last; one prompt like another.

    Args:
        by: `dense`, cosine of sentence embeddings, or `bm25`, words in common.
    """

    name = "rag"

    def __init__(self, k: int = 1, by: str = "dense", embedder: str = DEFAULT) -> None:
        if by not in ("dense", "bm25") or k < 1:
            raise InputError(f"retrieval is by dense or bm25, of k >= 1 facts, not {by!r}, {k}")
        self.k, self.by, self.embedder = k, by, embedder
        self._embed = Embedder(embedder)  # loads its model once, for all changes of the edits

    def prepare(self, backbone: Backbone) -> None:
        """Loads the embedder: no part of editing."""
        if self.by == "dense":
            self._embed([""])

    @contextmanager
    def apply(self, backbone: Backbone, edits: Iterable[Edit]) -> Iterator[PromptedModel]:
        yield _Searching(backbone, edits, self._index, self.k)

    def _index(self, documents: Sequence[str]) -> _Index:
        return _BM25(documents) if self.by == "bm25" else _Dense(documents, self._embed)


class _Demonstrating(_Searching):
    """The nearest fact after examples: of further rows, if there are any, else of other edits."""

    def __init__(self, editor: Demonstrate, backbone: Backbone, edits: Iterable[Edit]) -> None:
        self._pool, self._examples = editor._pool, editor._examples
        super().__init__(backbone, edits, editor._index, editor.k)

    def put_in_force(self, edits: EditSet) -> None:
        super().put_in_force(edits)
        edited = {edit.subject for edit in edits}
        self._further = {i for i, row in enumerate(self._pool) if row.subject not in edited}

    def contexts(self, texts: Sequence[str]) -> list[str]:
        if not self._further or self._examples is None or self._index is None or not texts:
            return super().contexts(texts)
        nearest = self._index.nearest(texts, 1)[:, 0].tolist()
        written = []
        for i, near in zip(nearest, self._examples.nearest(texts, len(self._pool)), strict=True):
            shown = [self._pool[k] for k in near.tolist() if k in self._further]
            written.append(self.written([self.edits[i], *shown[: self._k - 1]]))
        return written

    def written(self, found: Sequence[Edit]) -> str:
        """Edits from afar to near as examples, then the nearest one's fact, and "Prompt: "."""
        scored = not self._further  # held-out prompts of edits in force are for scoring
        examples = enumerate(reversed(found[1:]))
        shown = "".join(_demonstration(i, edit, scored=scored) for i, edit in examples)
        return shown + FACT.format(fact(found[0])) + QUESTION


def _demonstration(number: int, edit: Edit, *, scored: bool) -> str:
    """In turn of the three kinds: copy the fact, state it in other words, keep another answer."""
    wordings = edit.paraphrases if scored else (*edit.paraphrases, *edit.generality)
    others = [p for p in edit.locality if p.target and not (scored and p.held_out)]
    asked = [(edit.prompt, edit.target)]
    asked += [(text, edit.target) for text in wordings[:1]]
    asked += [(p.prompt, p.target or "") for p in others[:1]]
    prompt, answer = asked[number % len(asked)]
    return f"{FACT.format(fact(edit))}{QUESTION}{prompt.strip()} {answer.strip()}\n\n"


class Demonstrate(Retrieve):
    """IKE: the fact after k - 1 demonstrations (Zheng et al. 2023, section 3).

    The paper is told which fact a prompt is about; here it is the one nearest to the prompt.

    Args:
        pool: further rows of the kind, which demonstrate with all their prompts; without any the
            other edits do, with those that are not held out.
    """

    name = "ike"

    def __init__(self, k: int = 8, embedder: str = DEFAULT, pool: Iterable[Edit] = ()) -> None:
        super().__init__(k, "dense", embedder)
        self._pool = list(pool)
        self._examples = self._index([fact(row) for row in self._pool]) if self._pool else None

    def for_comparison(self, around: Surroundings) -> Demonstrate:
        """With some of the rows, of which those that are not edited may demonstrate."""
        drawn = min(DEMONSTRATIONS, len(around.pool))
        rows = random.Random(around.seed).sample(list(around.pool), drawn)
        return Demonstrate(self.k, self.embedder, rows)

    @contextmanager
    def apply(self, backbone: Backbone, edits: Iterable[Edit]) -> Iterator[PromptedModel]:
        yield _Demonstrating(self, backbone, edits)


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(m["content"] for m in messages(prompt))


def _preceded(prompt: Prompt, context: str) -> Prompt:
    """The prompt with something before it: in a chat before the last user turn."""
    if not context:
        return prompt
    if isinstance(prompt, str):
        return context + prompt
    turns = list(messages(prompt))
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    if last is None:
        raise InputError("a chat without a user's turn has no place for facts")
    turns[last] = {**turns[last], "content": context + turns[last]["content"]}
    return turns
