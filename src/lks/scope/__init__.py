"""Which edits a text triggers, and where."""

from lks.scope.matcher import Matcher, Mention
from lks.scope.relation import RelationGate
from lks.scope.scope import Finding, Scope, locate

__all__ = ["Finding", "Matcher", "Mention", "RelationGate", "Scope", "locate"]
