"""Facts by the name of where they stand: a pack, one of its versions, or a file. Without torch."""

from __future__ import annotations

import re
from pathlib import Path

from lks.edits.edit_set import EditSet
from lks.edits.profiles import in_force
from lks.packs.manifest import live_edits, verify

_VERSION = re.compile(r"(?s)(.+)@([0-9]{1,9})")


def edits_of(source: str | Path) -> EditSet:
    """The edits in force in `facts.pack`, or in its third version `facts.pack@3`, or the edits of a
    file.

    Raises:
        PackError, EditFileError, InputError: it cannot be read, or there is no such version.
    """
    path, version = Path(source), None
    if not path.exists() and (found := _VERSION.fullmatch(str(source))):
        pack = Path(found[1])
        if pack.is_dir():
            path, version = pack, int(found[2])
    if path.is_dir():
        return EditSet(in_force(live_edits(path, verify(path, version))))
    return EditSet.load(path)
