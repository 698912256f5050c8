"""Every error that LKS raises on purpose.

    LKSError                    the work failed                      exit code 1
    ├── TrainingInterrupted     stopped by the user; it can resume
    ├── NotLearnt               facts that the model does not state after training
    └── InputError              bad input or bad usage               exit code 2
        ├── MissingExtra        a package that an extra brings is not installed
        ├── EditFileError       a file of edits; lists every problem
        ├── ModelError          unknown or unusable base model
        │   └── LayerError      layer out of range, layers not found
        ├── OutputError         a folder or file that cannot be written
        ├── StoreError          a change or a question that the store of facts refuses
        │   ├── StoreUnavailable  it cannot do it now: a full disk, a lost database
        │   ├── NotFound        no such set, fact, version or job
        │   ├── Conflict        another fact, or another change of this name, stands against it
        │   ├── VersionMismatch the set has changed meanwhile
        │   └── Forbidden       the key's role does not allow it
        └── PackError           a pack that cannot be used
            ├── PackDamaged     missing, truncated or changed file
            ├── PackMismatch    made for another base model
            └── PackTooNew      schema newer than this package

Each message is one line: what happened, which value, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class LKSError(Exception):
    """Base of all errors of this package.

    Attributes:
        problems: a line for each of several things that are wrong, if there are several.
    """

    exit_code = 1
    problems: Sequence[str] = ()


class TrainingInterrupted(LKSError):
    """Training was stopped; a checkpoint was left behind."""


class NotLearnt(LKSError):
    """The model does not state some of the facts that it was trained on."""


class InputError(LKSError):
    """Something that the caller gave cannot be used."""

    exit_code = 2


class MissingExtra(InputError):
    """Something needs a package that an extra of this one brings."""

    def __init__(self, what: str, error: ModuleNotFoundError, extra: str) -> None:
        package = (error.name or "another package").replace("_", "-")
        super().__init__(f'{what} needs {package}: pip install "latent-knowledge-scalpel[{extra}]"')


class EditFileError(InputError):
    """A file of edits has problems; `problems` holds one line for each."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)


class ModelError(InputError):
    """The base model is unknown or cannot be used."""


class LayerError(ModelError):
    """The layer does not exist in the model, or its decoder layers were not found."""


class OutputError(InputError):
    """A place to write to cannot be written."""

    @classmethod
    def at(cls, path: Path, error: Exception) -> OutputError:
        """What to tell of a `path` that the disk refused with this error."""
        reason = getattr(error, "strerror", None) or str(error)
        return cls(f"{path}: cannot be written ({reason}); free some space or choose another place")


class StoreError(InputError):
    """The store of facts refuses something."""


class StoreUnavailable(StoreError):
    """The store cannot do it now, whatever is asked: a full disk, a lost database."""


class NotFound(StoreError):
    """There is no such set, fact, version or job."""


class Conflict(StoreError):
    """Another fact stands against this one, or the same name was used for another change."""


class VersionMismatch(StoreError):
    """The set has changed since the version that a change was meant for."""


class Forbidden(StoreError):
    """The key's role does not allow it."""


class PackError(InputError):
    """A pack cannot be used."""


class PackDamaged(PackError):
    """A file of the pack is missing, truncated or changed."""


class PackMismatch(PackError):
    """The pack was made for another base model."""


class PackTooNew(PackError):
    """The pack's schema is newer than this package."""
