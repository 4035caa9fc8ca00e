"""False alarms and delays of the degradation alarm, beside ADWIN and beside the best that is possible.

    python benchmarks/degradation_alarm.py [--quick] [--streams 2000] [--runs 400] [--processes 2]

The product's own alarm (core/stats/change.py) sees raw values one by one.

- `false_alarms`: share of streams of 10,000 unchanged values with any alarm for the worse, with a 95 % interval (Wilson):
  lognormal(5, 0.6), gamma, Weibull, whole milliseconds with many ties; failures of 0.1, 2 and 20 %.
- `beyond_window`: the same over streams of 30,000, from which the alarm forgets the oldest values, per 10,000.
- `delays`: values from a change to its alarm, as a median, after 4,000 unchanged values: latency times 1.2 and 1.5.
- `adwin`: Bifet and Gavaldà (2007), ADWIN2 with delta 0.002 and a look every 32 values as in river's implementation
  (river itself where it is installed, else the forty lines below), on the same streams.
- `ours_at_adwins_rate`: our alarm set to as many false alarms within 2,000 values as ADWIN was measured at.
- `best_possible`: Page's CUSUM that is told both distributions and the size of the change, with its limit set so that 1 %
  of streams of 10,000 have a false alarm. No rule of this rate has a smaller worst delay (Moustakides 1986), so a goal
  below it cannot be met by any.
- `same_in_seconds`: whether the alarms of every stream are the same when its values are divided by 1,000.

Prints JSON. Status 1 when a goal is missed that can be met.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.stats.change import FALSE_ALARM_RATE, Direction, RankAlarm, ShareAlarm
from core.stats.proportions import wilson

GOALS = {"false_per_10000": 0.01, "delay_1.2": 143, "delay_1.5": 47}
STREAM, REFERENCE, AFTER = 10_000, 4_000, 1_500
SIGMA = 0.6
FACTORS = (1.2, 1.5)
SEED = 20_260_000
Draw = Callable[[np.random.Generator, int], np.ndarray]
LATENCIES: dict[str, Draw] = {
    "lognormal(5, 0.6)": lambda r, n: r.lognormal(5, SIGMA, n),
    "gamma(2)": lambda r, n: r.gamma(2.0, 80.0, n),
    "weibull(1.5)": lambda r, n: 150 * r.weibull(1.5, n),
    "whole ms, many ties": lambda r, n: np.round(r.lognormal(2, SIGMA, n)),
}
SHARES = (0.001, 0.02, 0.2)


class Adwin:
    """ADWIN2: rows of buckets of 2^row values, at most MOST of each; the oldest go while two parts differ."""

    MOST, CLOCK, LEAST = 5, 32, 5

    def __init__(self, delta: float = 0.002) -> None:
        self.delta, self.rows = delta, [[]]  # each bucket: (n, mean, sum of squared deviations)
        self.seen = 0

    def observe(self, value: float) -> bool:
        self.rows[0].append((1, value, 0.0))
        for level, row in enumerate(self.rows):
            if len(row) <= self.MOST:
                break
            if level + 1 == len(self.rows):
                self.rows.append([])
            self.rows[level + 1].append(_joined(row.pop(0), row.pop(0)))
        self.seen += 1
        return self.seen % self.CLOCK == 0 and self._shrink()

    def _shrink(self) -> bool:
        rose = False
        while True:
            buckets = [bucket for row in reversed(self.rows) for bucket in row]
            whole = buckets[0]
            for bucket in buckets[1:]:
                whole = _joined(whole, bucket)
            n, variance = whole[0], whole[2] / whole[0]
            limit = math.log(2 * math.log(n) / self.delta) if n > 10 else math.inf
            left, cut = (0, 0.0, 0.0), None
            for bucket in buckets[:-1]:
                left = _joined(left, bucket)
                right_n = n - left[0]
                if left[0] < self.LEAST or right_n < self.LEAST:
                    continue
                right_mean = (whole[1] * n - left[1] * left[0]) / right_n
                m = 1 / (1 / (left[0] - self.LEAST + 1) + 1 / (right_n - self.LEAST + 1))
                bound = math.sqrt(2 / m * variance * limit) + 2 / (3 * m) * limit
                if abs(left[1] - right_mean) > bound:
                    cut = right_mean > left[1]
                    break
            if cut is None:
                return rose
            rose = rose or cut
            oldest = max(level for level, row in enumerate(self.rows) if row)
            self.rows[oldest].pop(0)
            if not any(self.rows):
                return rose


def _joined(a: tuple[int, float, float], b: tuple[int, float, float]) -> tuple[int, float, float]:
    n = a[0] + b[0]
    difference = b[1] - a[1]
    return n, a[1] + difference * b[0] / n, a[2] + b[2] + difference * difference * a[0] * b[0] / n


class RiverAdwin:
    """river's own, where it is installed."""

    def __init__(self) -> None:
        from river.drift import ADWIN

        self._adwin = ADWIN()

    def observe(self, value: float) -> bool:
        before = self._adwin.estimation
        self._adwin.update(value)
        return bool(self._adwin.drift_detected and self._adwin.estimation > before)


def adwin() -> "Adwin | RiverAdwin":
    try:
        return RiverAdwin()
    except ImportError:
        return Adwin()


def alarms(observe: Callable[[float], bool], values: Iterable[float]) -> int | None:
    """The place of the first alarm."""
    return next((place for place, value in enumerate(values) if observe(value)), None)


def ours(rate: float = FALSE_ALARM_RATE) -> Callable[[float], bool]:
    alarm = RankAlarm(rate=rate)

    def observe(value: float) -> bool:
        shift = alarm.observe(value)
        return shift is not None and shift.direction is Direction.WORSE

    return observe


def false_latency(name: str, length: int, seed: int) -> bool:
    values = LATENCIES[name](np.random.default_rng(SEED + seed), length).tolist()
    return alarms(ours(), values) is not None


def false_adwin(length: int, seed: int) -> bool:
    values = LATENCIES["lognormal(5, 0.6)"](np.random.default_rng(SEED + seed), length).tolist()
    return alarms(adwin().observe, values) is not None


def false_at_rate(rate: float, seed: int) -> bool:
    values = LATENCIES["lognormal(5, 0.6)"](np.random.default_rng(SEED + seed), 2000).tolist()
    return alarms(ours(rate), values) is not None


def false_share(share: float, seed: int) -> bool:
    alarm, random = ShareAlarm(), np.random.default_rng(SEED + seed)
    for failed in (random.random(STREAM) < share).tolist():
        shift = alarm.observe(failed)
        if shift is not None and shift.direction is Direction.WORSE:
            return True
    return False


def delay(name: str, factor: float, rate: float | None, seed: int) -> int | None:
    """Values from the change to the alarm, ours at a rate or ADWIN's; None: it was too early, or did not come."""
    random = np.random.default_rng(SEED + 500_000 + seed)
    before = LATENCIES[name](random, REFERENCE).tolist()
    after = (LATENCIES[name](random, AFTER) * factor).tolist()
    observe = adwin().observe if rate is None else ours(rate)
    if alarms(observe, before) is not None:
        return None
    found = alarms(observe, after)
    return None if found is None else found + 1


def share_delay(before: float, after: float, seed: int) -> int | None:
    alarm, random = ShareAlarm(), np.random.default_rng(SEED + 700_000 + seed)
    flags = [*(random.random(REFERENCE) < before).tolist(), *(random.random(REFERENCE) < after).tolist()]
    for place, failed in enumerate(flags):
        shift = alarm.observe(failed)
        if shift is not None and shift.direction is Direction.WORSE:
            return None if place < REFERENCE else place - REFERENCE + 1
    return None


def same_in_seconds(seed: int) -> bool:
    values = np.random.default_rng(SEED + 900_000 + seed).lognormal(5, SIGMA, 1500)
    values[1200:] *= 1.6
    in_ms, in_s = ours(), ours()
    return all(in_ms(float(v)) == in_s(float(v) / 1000) for v in values)


def best_possible(factor: float, streams: int, runs: int) -> dict[str, float]:
    """Page's CUSUM of the exact log-likelihood ratio, its limit calibrated, its median delay after 500 values."""
    random, drift = np.random.default_rng(SEED + 7), math.log(factor) / SIGMA
    sums, most = np.zeros(streams), np.zeros(streams)
    for _ in range(STREAM):
        sums = np.maximum(0, sums + drift * random.standard_normal(streams) - drift * drift / 2)
        most = np.maximum(most, sums)
    limit = float(np.quantile(most, 1 - GOALS["false_per_10000"]))
    sums, found = np.zeros(runs), np.full(runs, -1)
    for place in range(500 + AFTER):
        z = random.standard_normal(runs) + (drift if place >= 500 else 0)
        sums = np.maximum(0, sums + drift * z - drift * drift / 2)
        found[(found < 0) & (sums >= limit)] = place
    late = found[found >= 500] - 499
    return {"limit": round(limit, 2), "median": float(np.median(late))}


def told(hits: list[bool]) -> dict[str, float]:
    interval = wilson(sum(hits), len(hits))
    return {
        "streams": len(hits),
        "share": round(interval.value, 5),
        "low": round(interval.low, 5),
        "high": round(interval.high, 5),
    }


def middle(found: list[int | None]) -> dict[str, float]:
    known = [each for each in found if each is not None]
    return {
        "runs": len(found),
        "found": len(known),
        "median": statistics.median(known),
        "p90": float(np.quantile(known, 0.9)),
    }


def measure(streams: int, runs: int, processes: int) -> dict[str, object]:
    names = list(LATENCIES)
    with ProcessPoolExecutor(processes) as pool:

        def many(work: Callable[[int], object], count: int) -> list:
            return list(pool.map(work, range(count), chunksize=max(1, count // 40)))

        part = max(10, streams // 4)
        false = {
            name: told(many(partial(false_latency, name, STREAM), streams if name == names[0] else part))
            for name in names
        }
        false |= {f"failures of {share:g}": told(many(partial(false_share, share), part)) for share in SHARES}
        beyond = told(many(partial(false_latency, names[0], 3 * STREAM), max(5, streams // 10)))
        delays = {
            name: {
                f"x{factor}": middle(many(partial(delay, name, factor, FALSE_ALARM_RATE), runs))
                for factor in FACTORS
            }
            for name in names
        }
        delays["failures"] = {
            f"{before:g} to {after:g}": middle(many(partial(share_delay, before, after), max(10, runs // 4)))
            for before, after in ((0.02, 0.04), (0.02, 0.1), (0.001, 0.05), (0.2, 0.4))
        }
        peer = {
            "false_per_2000": told(many(partial(false_adwin, 2000), max(20, streams // 2))),
            "false_per_10000": told(many(partial(false_adwin, STREAM), max(10, streams // 8))),
            **{
                f"x{factor}": middle(many(partial(delay, names[0], factor, None), max(10, runs // 2)))
                for factor in FACTORS
            },
        }
        # The bound of this rate is what ADWIN was measured at; its real rate is lower still.
        rate = max(peer["false_per_2000"]["share"], 1e-3) / 2000
        at_its_rate = {
            "false_per_2000": told(many(partial(false_at_rate, rate), max(20, streams // 2))),
            **{
                f"x{factor}": middle(many(partial(delay, names[0], factor, rate), max(10, runs // 2)))
                for factor in FACTORS
            },
        }
        same = many(same_in_seconds, max(10, runs // 8))
    best = {f"x{factor}": best_possible(factor, streams * 10, runs * 10) for factor in FACTORS}
    return {
        "streams": streams,
        "runs": runs,
        "false_alarms": false,
        "beyond_window": beyond | {"share_per_10000": round(beyond["share"] / 3, 5)},
        "delays": delays,
        "adwin": peer | {"by": type(adwin()).__name__},
        "ours_at_adwins_rate": at_its_rate,
        "best_possible": best,
        "same_in_seconds": f"{sum(same)} of {len(same)}",
    }


def judge(found: dict) -> dict[str, object]:
    """Each goal, whether it is met, and whether anybody could."""
    first = next(iter(LATENCIES))
    judged: dict[str, object] = {
        "false_per_10000": {
            "goal": GOALS["false_per_10000"],
            "is": found["false_alarms"][first]["share"],
            "met": found["false_alarms"][first]["share"] <= GOALS["false_per_10000"],
            "possible": True,
        }
    }
    for factor in FACTORS:
        goal, is_now = GOALS[f"delay_{factor}"], found["delays"][first][f"x{factor}"]["median"]
        best = found["best_possible"][f"x{factor}"]["median"]
        judged[f"delay_{factor}"] = {
            "goal": goal,
            "is": is_now,
            "met": is_now <= goal,
            "best_possible": best,
            "possible": best <= goal,
        }
    return judged


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few streams: shows that it runs, not how well")
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    streams, runs = (40, 20) if options.quick else (options.streams, options.runs)
    found = measure(streams, runs, options.processes)
    found["goals"] = judge(found)
    print(json.dumps(found, indent=2))
    missed = [goal for goal in found["goals"].values() if goal["possible"] and not goal["met"]]
    return 0 if options.quick else int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
