"""Percentiles of ten million latencies: how fast, how exact, on eighteen shapes of values, beside numpy's exact ones.

    python benchmarks/analytics_percentiles.py [--values 10000000] [--hours 720] [--seed 1]

Of each shape: the largest relative error of P50, P95, P99 against numpy's exact order statistics (and of 199 quantiles
in between, on the first million); the time of one query of all three from the sketch; numpy's. Then the values of one
adapter spread over `hours` sketches as the database holds them (bytes): reading, merging and asking; and whether merging
in another order and grouping gives the same bytes. DDSketch of the `ddsketch` package stands beside it where it is
installed (100,000 values: it takes them one by one). Prints JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from core.stats.sketches import RELATIVE_ERROR, LogSketch

QS = (0.5, 0.95, 0.99)
Values = NDArray[np.float64]
Random = np.random.Generator


def two_bumps(r: Random, n: int) -> Values:
    return np.where(r.random(n) < 0.8, r.normal(40, 3, n), r.normal(900, 60, n)).clip(0)


SHAPES: dict[str, Callable[[Random, int], Values]] = {
    "uniform": lambda r, n: r.uniform(1, 2, n),
    "narrow": lambda r, n: r.uniform(100, 100.5, n),
    "exponential": lambda r, n: r.exponential(30, n),
    "normal": lambda r, n: np.abs(r.normal(200, 20, n)),
    "lognormal": lambda r, n: r.lognormal(4, 0.5, n),
    "lognormal, wide": lambda r, n: r.lognormal(0, 4, n),
    "pareto 0.7": lambda r, n: r.pareto(0.7, n) + 1,
    "pareto 2": lambda r, n: r.pareto(2, n) + 1,
    "weibull 0.4": lambda r, n: r.weibull(0.4, n),
    "gamma 0.3": lambda r, n: r.gamma(0.3, 50, n),
    "beta 0.5 0.5": lambda r, n: r.beta(0.5, 0.5, n),
    "two bumps": two_bumps,
    "one in a thousand is slow": lambda r, n: np.where(
        r.random(n) < 1e-3, 60_000.0, np.abs(r.normal(40, 1, n))
    ),
    "all alike": lambda _, n: np.full(n, 7.7),
    "whole numbers": lambda r, n: r.integers(0, 500, n).astype(float),
    "zeros and more": lambda r, n: np.where(r.random(n) < 0.4, 0.0, r.exponential(1, n)),
    "powers of two": lambda r, n: 2.0 ** r.integers(-10, 20, n),
    "a day of seconds": lambda r, n: 10 ** r.uniform(-3, 7, n),
}


def relative_error(found: list[float], exact: Values) -> float:
    return max(abs(f - e) / e if e else float(f != 0) for f, e in zip(found, exact, strict=True))


def seconds(act: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def shape_figures(values: Values) -> dict[str, Any]:
    began = time.perf_counter()
    sketch = LogSketch.of(values)
    built = time.perf_counter() - began
    began = time.perf_counter()
    exact = np.quantile(values, QS, method="inverted_cdf")
    numpy_s = time.perf_counter() - began
    part = values[:1_000_000]
    fine = np.linspace(0.005, 0.995, 199)
    return {
        "error": relative_error(sketch.quantiles(QS), exact),
        "error_of_199": relative_error(
            LogSketch.of(part).quantiles([float(q) for q in fine]),
            np.quantile(part, fine, method="inverted_cdf"),
        ),
        "query_ms": round(seconds(lambda: sketch.quantiles(QS), 200) * 1000, 4),
        "numpy_ms": round(numpy_s * 1000, 1),
        "built_ns_per_value": round(built / values.size * 1e9, 1),
        "counters": sketch.keys.size,
        "bytes": len(sketch.to_bytes()),
    }


def merging(values: Values, hours: int) -> dict[str, Any]:
    parts = [LogSketch.of(part).to_bytes() for part in np.array_split(values, hours)]

    def answer() -> list[float]:
        return LogSketch.merged(map(LogSketch.from_bytes, parts)).quantiles(QS)

    whole = LogSketch.of(values).to_bytes()
    forwards = LogSketch.merged(map(LogSketch.from_bytes, parts)).to_bytes()
    backwards = LogSketch()
    for part in reversed(parts):
        backwards += LogSketch.from_bytes(part)
    return {
        "sketches": hours,
        "bytes_of_all": sum(map(len, parts)),
        "read_merge_and_ask_ms": round(seconds(answer, 20) * 1000, 3),
        "any_order_same_bytes": whole == forwards == backwards.to_bytes(),
    }


def peer(values: Values) -> dict[str, Any] | str:
    try:
        from ddsketch import DDSketch
    except ImportError:
        return "not installed"
    found = DDSketch(0.01)
    part = values[:100_000]
    began = time.perf_counter()
    for value in part:
        found.add(value)
    built = time.perf_counter() - began
    exact = np.quantile(part, QS, method="inverted_cdf")
    return {
        "error": relative_error([found.get_quantile_value(q) for q in QS], exact),
        "query_ms": round(seconds(lambda: [found.get_quantile_value(q) for q in QS], 50) * 1000, 4),
        "built_ns_per_value": round(built / part.size * 1e9, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--values", type=int, default=10_000_000)
    parser.add_argument("--hours", type=int, default=720)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    random = np.random.default_rng(asked.seed)
    shapes = {name: shape_figures(draw(random, asked.values)) for name, draw in SHAPES.items()}
    values = SHAPES["lognormal"](random, asked.values)
    print(
        json.dumps(
            {
                "values": asked.values,
                "proven_error": RELATIVE_ERROR,
                "largest_error": max(max(each["error"], each["error_of_199"]) for each in shapes.values()),
                "slowest_query_ms": max(each["query_ms"] for each in shapes.values()),
                "shapes": shapes,
                "merging": merging(values, asked.hours),
                "ddsketch": peer(values),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
