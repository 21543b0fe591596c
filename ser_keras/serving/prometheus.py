"""Metrics of a server for Prometheus."""

import prometheus_client


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self):
        # One for each server: the global registry accepts a name only once.
        self.registry = registry = prometheus_client.CollectorRegistry()
        self.requests = prometheus_client.Counter(
            "ser_keras_requests",
            "Answered :predict calls",
            ["status"],
            registry=registry,
        )
        self.seconds = prometheus_client.Histogram(
            "ser_keras_request_seconds",
            "Duration of :predict calls",
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.batch = prometheus_client.Histogram(
            "ser_keras_batch_clips",
            "Clips computed together",
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64),
        )
        self.waiting = prometheus_client.Gauge(
            "ser_keras_waiting_clips", "Waiting clips", registry=registry
        )
        self.version = prometheus_client.Gauge(
            "ser_keras_model_version",
            "Served version, 0 without any",
            ["model"],
            registry=registry,
        )
