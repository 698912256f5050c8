"""JSON as the server writes it: compact, UTF-8, always valid."""

from __future__ import annotations

import json

from fastapi.responses import Response

from lks.edits.text import encodable


def written(value: object) -> bytes:
    """Compact JSON; half characters are marked, as UTF-8 has none."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return encodable(text).encode()


class Json(Response):
    """An answer in JSON."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return written(content)
