"""Which edits a text triggers, and where."""

from lks.scope.matcher import Matcher, Mention
from lks.scope.relation import RelationGate
from lks.scope.scope import Scope, locate

__all__ = ["Matcher", "Mention", "RelationGate", "Scope", "locate"]
