"""An edited model for lm-evaluation-harness. Needs the extra `harness`.

from lm_eval import simple_evaluate
with editor("lks", pack=Pack.load("facts.pack")).apply(backbone) as model:
    simple_evaluate(EditedLM(model), tasks=["arc_easy"])
"""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from lks.editors.protocol import EditedModel


class EditedLM(LM):  # type: ignore[misc]
    """Answers the harness's three kinds of requests through the protocol of edited models.

    A continuation that does not begin at white space is scored from the last white space before
    it, which adds the same to all continuations of one context. The first token of a text without
    context is not scored where the tokenizer has no token that begins a text, and white space at
    the end of a text is not either.
    """

    def __init__(self, model: EditedModel, *, max_new_tokens: int = 256) -> None:
        super().__init__()
        self.model, self.max_new_tokens = model, max_new_tokens

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """(Log-probability of the continuation, whether greedy decoding writes it), each."""
        pairs = [_at_white_space(*request.args) for request in requests]
        scores = self.model.score(pairs)
        return [(sum(score.logprobs), all(score.matches)) for score in scores]

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """Log-probabilities of whole texts; they must fit into the model."""
        scores = self.model.score([("", request.args[0]) for request in requests])
        return [sum(score.logprobs) for score in scores]

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Texts written greedily, each cut before the first of its `until` strings."""
        written = []
        for context, settings in (request.args for request in requests):
            most = int(settings.get("max_gen_toks", self.max_new_tokens))
            (answer,) = self.model.respond([context], max_new_tokens=most)
            text = answer.whole  # a stop may be white space
            until = settings.get("until") or []
            for stop in [until] if isinstance(until, str) else until:
                text = text.split(stop)[0]
            written.append(text)
        return written


def _at_white_space(context: str, continuation: str) -> tuple[str, str]:
    """The same text, parted where white space begins: all of it belongs to the continuation."""
    while context and (context[-1].isspace() or not continuation[:1].isspace()):
        context, continuation = context[:-1], context[-1] + continuation
    return context, continuation
