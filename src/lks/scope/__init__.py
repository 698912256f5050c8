"""Which edits a text triggers, and where."""

from lks.scope.matcher import Matcher, Mention
from lks.scope.scope import Scope

__all__ = ["Matcher", "Mention", "Scope"]
