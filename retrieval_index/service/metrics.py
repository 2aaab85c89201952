"""Numbers about the service in Prometheus' text format, at `/metrics`."""

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Bounds of the times of requests, s. Source: ours; from a picture that is kept to an upload that is decoded."""

Read = Callable[[], Iterable[tuple[str, str, float, bool]]]
"""Gives name, help, value, and whether it only grows, of numbers that others count."""


class Metrics:
    """Counts requests by route and status, and their times.

    Args:
        read: Numbers that others count.
    """

    def __init__(self, read: Read) -> None:
        self._registry = CollectorRegistry()
        names = ["route", "method", "status"]
        self.requests = Counter("foundsound_requests", "Requests that were answered.", names, registry=self._registry)
        self.seconds = Histogram(
            "foundsound_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["route"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self.in_flight = Gauge("foundsound_requests_in_flight", "Requests being answered.", registry=self._registry)
        self._registry.register(_Others(read))

    def text(self) -> bytes:
        """All numbers as Prometheus reads them."""
        return generate_latest(self._registry)

    def answered(self) -> int:
        """How many requests were answered."""
        samples = [sample for metric in self.requests.collect() for sample in metric.samples]
        return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))


class _Others(Collector):
    """Numbers that others count, read when they are asked for."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """One metric a number."""
        for name, text, value, only_grows in self._read():
            family = CounterMetricFamily if only_grows else GaugeMetricFamily
            yield family(f"foundsound_{name}", text, value=value)


class Counted:
    """ASGI middleware, the outermost: counts and times every request.

    Args:
        app: What answers.
        metrics: Where it is counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        begun = time.perf_counter()

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, counted)
            finally:
                # The template of the route and never the path itself, of which there are as many as clips.
                route = getattr(scope.get("route"), "path", "other")
                method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
                self._metrics.requests.labels(route, method, str(status)).inc()
                self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)
