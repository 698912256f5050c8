"""What happened lately, for people: of each tenant by itself, in memory, bounded."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

MINUTES, NEAR, TIMES, MOST_EDITS = 60, 50, 1000, 10_000


@dataclass(frozen=True)
class Fired:
    set_name: str
    edit: str


@dataclass
class _Minute:
    at: int  # minutes since 1970
    requests: int = 0
    texts: int = 0
    fired: int = 0
    tokens: int = 0


@dataclass
class _Tenant:
    total: _Minute = field(default_factory=lambda: _Minute(0))
    minutes: deque[_Minute] = field(default_factory=lambda: deque(maxlen=MINUTES))
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    near: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=NEAR))
    first: deque[float] = field(default_factory=lambda: deque(maxlen=TIMES))
    between: deque[float] = field(default_factory=lambda: deque(maxlen=TIMES))


class Traffic:
    """Counts of requests. Any thread may tell and ask.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._lock = clock, Lock()
        self._tenants: dict[str, _Tenant] = {}
        self._since = clock()

    def asked(
        self,
        tenant: str,
        fired: Sequence[Iterable[Fired]],
        near: Iterable[dict[str, object]] = (),
    ) -> None:
        """A request, and what each of its texts fired."""
        with self._lock:
            own = self._tenants.setdefault(tenant, _Tenant())
            for count in (own.total, self._minute(own)):
                count.requests += 1
                count.texts += len(fired)
                count.fired += sum(bool([*text]) for text in fired)
            for text in fired:
                own.hits.update({(hit.set_name, hit.edit) for hit in text})
            if len(own.hits) > MOST_EDITS:
                own.hits = Counter(dict(own.hits.most_common(MOST_EDITS // 2)))
            at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
            own.near.extend({"at": at, **miss} for miss in near)

    def wrote(
        self,
        tenant: str,
        tokens: int,
        first: float | None,
        between: Iterable[float],
        fired: Iterable[Fired] = (),
    ) -> None:
        """What a request wrote, how long its client waited for each token, and what its own words
        fired."""
        with self._lock:
            own = self._tenants.setdefault(tenant, _Tenant())
            for count in (own.total, self._minute(own)):
                count.tokens += tokens
            if first is not None:
                own.first.append(first)
            own.between.extend(between)
            own.hits.update({(hit.set_name, hit.edit) for hit in fired})

    def hits(self) -> dict[tuple[str, str, str], int]:
        """Of each edit, by tenant, set and id."""
        with self._lock:
            return {
                (tenant, *key): count
                for tenant, own in self._tenants.items()
                for key, count in own.hits.items()
            }

    def hits_of(self, tenant: str, set_name: str, edit: str) -> int:
        with self._lock:
            own = self._tenants.get(tenant)
            return own.hits[set_name, edit] if own else 0

    def told(self, tenant: str) -> dict[str, object]:
        """All of one tenant's."""
        with self._lock:
            own = self._tenants.get(tenant) or _Tenant()
            now = int(self._clock() // 60)
            counts = {minute.at: minute for minute in own.minutes}
            return {
                "since": _time(self._since),
                "requests": own.total.requests,
                "texts": own.total.texts,
                "fired": own.total.fired,
                "tokens": own.total.tokens,
                "minutes": [
                    _row(counts.get(at) or _Minute(at)) for at in range(now - MINUTES + 1, now + 1)
                ],
                "hits": [
                    {"set": set_name, "edit": edit, "count": count}
                    for (set_name, edit), count in own.hits.most_common(100)
                ],
                "near": list(reversed(own.near)),
                "latency": {
                    "first_token": _shares(own.first),
                    "between_tokens": _shares(own.between),
                },
            }

    def _minute(self, own: _Tenant) -> _Minute:
        now = int(self._clock() // 60)
        if not own.minutes or own.minutes[-1].at != now:
            own.minutes.append(_Minute(now))
        return own.minutes[-1]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _row(minute: _Minute) -> dict[str, object]:
    return {
        "at": _time(minute.at * 60),
        "requests": minute.requests,
        "texts": minute.texts,
        "fired": minute.fired,
        "tokens": minute.tokens,
    }


def _shares(times: Iterable[float]) -> dict[str, float | None]:
    """Seconds within which half of the times lay, and 99 of a hundred."""
    known = sorted(times)
    return {
        name: round(known[min(len(known) - 1, int(share * len(known)))], 4) if known else None
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }
