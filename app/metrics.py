"""What this process did, for Prometheus. Names and buckets are those of OpenTelemetry's conventions, spelled as it says.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/ and …/http/http-metrics/. Labels are few: no ids, no
paths, no names of models of a tenant; the slug of a tenant only where the settings say so.
"""

import time

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

from core.errors import RmnError
from core.serve.records import InferenceAnswer

TOKEN_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
SECOND_BUCKETS = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68,
)  # fmt: skip
FIRST_TOKEN_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0,
)  # fmt: skip
NEXT_TOKEN_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 60.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
LEFT, FAILED, NO_ROUTE = "cancelled", "error", "unmatched"
COMMON = ("gen_ai_operation_name", "gen_ai_provider_name", "rmn_tenant")


def error_kind(error: BaseException | None) -> str:
    """What an answer that did not come about ended with, in a word. None: its reader went away."""
    return LEFT if error is None else error.code if isinstance(error, RmnError) else FAILED


class Metrics:
    """Counters of one process, in a registry of their own. Safe from any thread."""

    def __init__(self, *, by_tenant: bool = False) -> None:
        self._by_tenant = by_tenant
        self._registry = CollectorRegistry()
        self._tokens = self._histogram(
            "gen_ai_client_token_usage",
            "Tokens that answers read and generated.",
            (*COMMON, "gen_ai_token_type"),
            TOKEN_BUCKETS,
        )
        self._duration = self._histogram(
            "gen_ai_server_request_duration_seconds",
            "From a request to its last token.",
            (*COMMON, "error_type"),
            SECOND_BUCKETS,
        )
        self._first = self._histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From a request to its first token.",
            COMMON,
            FIRST_TOKEN_BUCKETS,
        )
        self._next = self._histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Between tokens, after the first.",
            COMMON,
            NEXT_TOKEN_BUCKETS,
        )
        self._http = self._histogram(
            "http_server_request_duration_seconds",
            "Requests of the API, by route.",
            ("http_request_method", "http_route", "http_response_status_code"),
            HTTP_BUCKETS,
        )
        ProcessCollector(registry=self._registry)

    def add(self, collector: Collector) -> None:
        """Tell what this collects, too, whenever somebody reads."""
        self._registry.register(collector)

    def note_answer(self, slug: str, answer: InferenceAnswer) -> None:
        """An answer that is whole."""
        common = self._common(slug)
        self._tokens.labels(*common, "input").observe(answer.prompt_tokens)
        self._tokens.labels(*common, "output").observe(answer.completion_tokens)
        error = LEFT if answer.finish_reason == "cancelled" else ""
        self._duration.labels(*common, error).observe(answer.latency_ms / 1000)
        if answer.completion_tokens:
            self._first.labels(*common).observe(answer.first_token_ms / 1000)
        if answer.completion_tokens > 1:
            rest_ms = max(0.0, answer.latency_ms - answer.first_token_ms)
            self._next.labels(*common).observe(rest_ms / 1000 / (answer.completion_tokens - 1))

    def note_failure(self, slug: str, error: BaseException | None, seconds: float) -> None:
        """One that did not come about. `error` None: its reader went away."""
        self._duration.labels(*self._common(slug), error_kind(error)).observe(seconds)

    def note_http(self, method: str, route: str | None, status: int | None, began: float) -> None:
        """A request of the API, that `began` by time.perf_counter(). `route` is its template; None: there is none."""
        method = method if method in METHODS else "_OTHER"
        seconds = time.perf_counter() - began
        self._http.labels(method, route or NO_ROUTE, "" if status is None else str(status)).observe(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _common(self, slug: str) -> tuple[str, str, str]:
        return "chat", "rmn", slug if self._by_tenant else ""

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)
