"""What Prometheus is told, in a registry of the app's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from lks.serving.protocol import Load

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
Hits = Mapping[tuple[str, str, str], int]  # by tenant, set and edit


class Metrics:
    """Counters and times since the server was started.

    Args:
        load: of the engine; None while there is none.
        hits: of each edit.
    """

    def __init__(self, load: Callable[[], Load | None], hits: Callable[[], Hits]) -> None:
        registry = self._registry = CollectorRegistry()

        def counter(name: str, told: str, labels: Iterable[str] = ()) -> Counter:
            return Counter(f"lks_{name}", told, labels, registry=registry)

        def seconds(name: str, told: str) -> Histogram:
            return Histogram(f"lks_{name}_seconds", told, buckets=SECONDS, registry=registry)

        self.requests = counter("requests", "Requests answered.", ["route", "status"])
        self.tokens = counter("tokens", "Tokens read (prompt) and written.", ["kind"])
        self.texts = counter("texts", "Prompts that were looked through for edits.")
        self.fired = counter("texts_fired", "Prompts that fired an edit.")
        self.fired_later = counter("texts_fired_later", "Edits that a text's own words fired.")
        self.near = counter("near_misses", "Edits whose entity was named, and that did not fire.")
        self.refused = counter("requests_refused", "Requests refused since too many waited.")
        self.first_token = seconds("first_token", "From the request to its first token.")
        self.between = seconds("between_tokens", "From one token to the next.")
        self.scope = seconds("scope", "What scope and tokenising of a request took.")
        registry.register(_Now(load, hits))

    def text(self, tenant: str | None = None) -> bytes:
        """In Prometheus' format; with a tenant, without what tells of others' edits."""
        return generate_latest(self._registry if tenant is None else _Of(self._registry, tenant))


class _Now(Collector):
    """What is read when it is asked for."""

    def __init__(self, load: Callable[[], Load | None], hits: Callable[[], Hits]) -> None:
        self._load, self._hits = load, hits

    def collect(self) -> Iterator[Metric]:
        load = self._load()
        yield GaugeMetricFamily(
            "lks_ready", "Whether the model is loaded.", float(load is not None)
        )
        load = load or Load()
        yield GaugeMetricFamily("lks_running", "Texts that are being written.", load.running)
        yield GaugeMetricFamily("lks_waiting", "Texts that wait.", load.waiting)
        hits = CounterMetricFamily(
            "lks_edit_hits",
            "Prompts and texts that fired an edit.",
            labels=["tenant", "set", "edit"],
        )
        for key, count in self._hits().items():
            hits.add_metric(key, count)
        yield hits


class _Of(CollectorRegistry):
    """A registry as one tenant may see it."""

    def __init__(self, whole: CollectorRegistry, tenant: str) -> None:
        super().__init__()
        self._whole, self._tenant = whole, tenant

    def collect(self) -> Iterator[Metric]:
        for metric in self._whole.collect():
            metric.samples = [
                sample
                for sample in metric.samples
                if sample.labels.get("tenant", self._tenant) == self._tenant
            ]
            yield metric
