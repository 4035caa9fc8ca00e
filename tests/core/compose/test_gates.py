"""Gates: kept and promoted by a rule, read without trust, and a router that knows when to keep silent."""

import dataclasses
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from core.compose import gates
from core.compose.gate_files import GateFile, read_gate_file, write_gate_file
from core.compose.gate_records import Gate, GateAdapter, GateState
from core.compose.gate_report import (
    ANSWER_LOSS,
    EXACT_MATCH,
    GATE,
    LEAST_ROWS,
    Policy,
    RowResult,
    compare,
    decide,
    routing,
)
from core.compose.records import GateKind
from core.compose.router import BASE, Router, RouterWeights, router_of, router_tensors
from core.errors import ConflictError, IntegrityError, InvalidInputError, NotFoundError, RefusedFileError
from core.stats.proportions import paired_difference, wilson
from core.storage.database import Database
from core.tenants import audit
from core.tenants.records import Tenant

ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64
BASE_DIGEST = "b" * 64
ADAPTERS = (GateAdapter(ONE, "alpha", 1), GateAdapter(TWO, "planner", 3))


def results(pattern: str, **more: Any) -> tuple[RowResult, ...]:
    """One JSON row per letter, x where the answer was right."""
    fields: dict[str, Any] = {"fields": 2, "is_json": True, "nats": None, "tokens": 4}
    return tuple(RowResult(c == "x", 2 if c == "x" else 1, **(fields | more)) for c in pattern)


def report_of(gate: str, other: str) -> dict[str, Any]:
    comparison = compare(
        Policy(GATE, "the gate", results(gate)), [Policy("base", "the base", results(other))]
    )
    better, reason = decide(comparison)
    return {"decision": {"promotable": better, "reason": reason}, "comparison": comparison}


BETTER, NO_BETTER = report_of("x" * 24, "." * 24), report_of("x" * 12 + "." * 12, "." * 11 + "x" * 13)


@pytest.fixture
def keep(tmp_path: Path, now: datetime) -> Callable[..., Gate]:
    def keep(s: Any, tenant: Tenant, name: str = "chooser", **more: Any) -> Gate:
        values = {
            "kind": GateKind.ROUTER,
            "base_digest": BASE_DIGEST,
            "digest": "d" * 64,
            "path": tmp_path / "gate.safetensors",
            "adapters": ADAPTERS,
            "report": BETTER,
            "job_id": None,
            "created_by": "a",
            "now": now,
        }
        return gates.record(s, tenant.id, name=name, **(values | more))

    return keep


def some_gate(path: Path, digest: str, kind: GateKind = GateKind.ROUTER, **more: Any) -> Gate:
    values: dict[str, Any] = {
        "id": "gate_x",
        "tenant_id": "t",
        "name": "chooser",
        "version": 1,
        "kind": kind,
        "state": GateState.CANDIDATE,
        "base_digest": BASE_DIGEST,
        "digest": digest,
        "path": str(path),
        "adapters": ADAPTERS,
        "report": {},
        "job_id": None,
        "created_by": "a",
        "created_at": datetime(2026, 11, 2),
    }
    return Gate(**(values | more))


def router_weights(classes: int = 2, **more: Any) -> RouterWeights:
    """Two features; class 0 lives at (−1, 0), class 1 at (1, 0), a third at (0, 1)."""
    centres = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])[:classes]
    values: dict[str, Any] = {
        "mean": np.zeros(2),
        "scale": np.ones(2),
        "directions": np.eye(2),
        "whitening": 10 * np.eye(2),
        "centres": centres,
        "reach": np.ones(classes),
        "noise": 1.0,
        "weights": 5 * centres,
        "bias": np.zeros(classes),
        "temperature": 1.0,
        "threshold": 0.9,
        "distance_limit": 2.0,
    }
    return RouterWeights(**(values | more))


def router_file(weights: RouterWeights, **more: Any) -> GateFile:
    values: dict[str, Any] = {
        "kind": GateKind.ROUTER,
        "base_digest": BASE_DIGEST,
        "adapters": (ONE, TWO),
        "modules": (),
        "tensors": router_tensors(weights),
    }
    return GateFile(**(values | more))


# --- kept, found, promoted ---


def test_a_gate_is_a_candidate_until_it_is_promoted_and_then_the_one_before_retires(
    database: Database, tenant: Tenant, keep: Callable[..., Gate], now: datetime
) -> None:
    with database.transaction() as s:
        first, second = keep(s, tenant), keep(s, tenant)
        assert (first.label, second.label) == ("chooser v1", "chooser v2")
        assert first.state is GateState.CANDIDATE
        with pytest.raises(ConflictError, match="No version"):
            gates.find_gate(s, tenant.id, "chooser")
        gates.promote(s, tenant.id, first.id, actor="a", now=now)
    with database.transaction() as s:
        assert gates.find_gate(s, tenant.id, "chooser") == dataclasses.replace(
            first, state=GateState.PROMOTED
        )
        gates.promote(s, tenant.id, second.id, actor="a", now=now)
    with database.transaction() as s:
        states = {gate.label: gate.state for gate in gates.list_gates(s, tenant.id)}
        assert states == {"chooser v1": GateState.RETIRED, "chooser v2": GateState.PROMOTED}
        again = gates.promote(s, tenant.id, first.id, actor="a", now=now)
        assert gates.find_gate(s, tenant.id, "chooser").id == again.id == first.id
        entries = [e.action for e in audit.list_entries(s, tenant.id)]
    assert entries.count("gate.promoted") == 3


def test_a_version_can_be_named_and_a_tenant_sees_its_own_gates_only(
    database: Database, tenant: Tenant, other_tenant: Tenant, keep: Callable[..., Gate]
) -> None:
    with database.transaction() as s:
        gate, static = keep(s, tenant), keep(s, tenant, "gains", kind=GateKind.STATIC)
        for name in (gate.id, "chooser v1", "chooser@1"):
            assert gates.find_gate(s, tenant.id, name) == gate
            assert gates.find_version(s, tenant.id, name) == gate
        assert gates.find_version(s, tenant.id, "chooser") == gate
        assert gates.list_gates(s, tenant.id, kind=GateKind.STATIC) == [static]
        assert gates.list_gates(s, other_tenant.id) == []
        for name in (gate.id, "chooser", "chooser@1", "chooser@2", "Chooser v1", "a\0b", "ä"):
            with pytest.raises(NotFoundError):
                gates.find_gate(s, other_tenant.id if name != "chooser@2" else tenant.id, name)


def test_a_job_makes_one_gate_and_a_name_must_be_plain(
    sqlite_database: Database, sqlite_tenant: Tenant, keep: Callable[..., Gate]
) -> None:
    with sqlite_database.transaction() as s:
        first = keep(s, sqlite_tenant, job_id="job_1")
        assert keep(s, sqlite_tenant, job_id="job_1") == first
        assert keep(s, sqlite_tenant, job_id="job_2").version == 2
        for name in ("", "_x", "a/b", "x" * 101, "n\nm"):
            with pytest.raises(InvalidInputError):
                keep(s, sqlite_tenant, name)


def test_a_gate_that_is_not_shown_to_be_better_is_not_promoted_whatever_its_report_says(
    sqlite_database: Database, sqlite_tenant: Tenant, keep: Callable[..., Gate], now: datetime
) -> None:
    boasting = {**NO_BETTER, "decision": {"promotable": True, "reason": "Trust me."}}
    with sqlite_database.transaction() as s:
        for report, words in (
            (boasting, "not shown to beat the base"),
            ({}, "rows are"),
            (report_of("x" * 4, "." * 4), "4 held-out rows"),
        ):
            gate = keep(s, sqlite_tenant, report=report)
            with pytest.raises(ConflictError) as refused:
                gates.promote(s, sqlite_tenant.id, gate.id, actor="a", now=now)
            assert words in f"{refused.value.why} rows are"
            assert gates.get_gate(s, sqlite_tenant.id, gate.id).state is GateState.CANDIDATE


def test_a_gate_fits_only_its_own_base_kind_and_set_of_adapters() -> None:
    gate = some_gate(Path("x"), "d" * 64)
    gates.check_fits(gate, GateKind.ROUTER, BASE_DIGEST, [TWO, ONE])
    for kind, base, adapters, words in (
        (GateKind.STATIC, BASE_DIGEST, [ONE, TWO], "is «router»"),
        (GateKind.ROUTER, "c" * 64, [ONE, TWO], "bbbbbbbbbbbb… "),
        (GateKind.ROUTER, BASE_DIGEST, [ONE], "lacks planner v3"),
        (GateKind.ROUTER, BASE_DIGEST, [ONE, TWO, THREE], "does not know the adapter 333333333333…"),
    ):
        with pytest.raises(ConflictError) as refused:
            gates.check_fits(gate, kind, base, adapters)
        assert words.strip() in refused.value.why


# --- files ---


def test_a_router_reads_back_as_it_was_written_and_chooses_the_same(tmp_path: Path) -> None:
    path, digest = write_gate_file(tmp_path, router_file(router_weights()))
    assert path.name == f"{digest}.safetensors"
    read = gates.read_router(some_gate(path, digest))
    for x in ([-1.0, 0.01], [1.0, 0.0], [0.0, 0.0], [5.0, 5.0]):
        assert read.choose(x) == Router((ONE, TWO), router_weights()).choose(x)


def test_the_digest_names_numbers_base_adapters_and_their_order(tmp_path: Path) -> None:
    weights = router_weights()
    files = [
        router_file(weights),
        router_file(dataclasses.replace(weights, temperature=1.5)),
        router_file(weights, base_digest="c" * 64),
        router_file(weights, adapters=(TWO, ONE)),
        router_file(weights, modules=("m",)),
    ]
    digests = [write_gate_file(tmp_path, file)[1] for file in files]
    assert len(set(digests)) == len(files)
    assert write_gate_file(tmp_path, files[0])[1] == digests[0]


def test_a_changed_or_missing_file_is_never_served(tmp_path: Path) -> None:
    path, digest = write_gate_file(tmp_path, router_file(router_weights()))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="cannot be used"):
        gates.read_router(some_gate(path, digest))
    assert write_gate_file(tmp_path, router_file(router_weights()))[0].read_bytes() == data
    with pytest.raises(IntegrityError, match="other adapters"):
        gates.read_router(some_gate(path, digest, adapters=ADAPTERS[::-1]))
    path.unlink()
    with pytest.raises(IntegrityError, match="not there"):
        gates.read_router(some_gate(path, digest))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bias": np.array([np.nan, 0.0])}, "NaN"),
        ({"bias": np.zeros(4)}, "shape"),
        ({"whitening": np.eye(3)}, "shape"),
        ({"scale": np.array([0.0, 1.0])}, "no router"),
        ({"temperature": 0.0}, "no router"),
    ],
)
def test_numbers_that_make_no_router_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path, digest = write_gate_file(tmp_path, router_file(router_weights(**change)))
    with pytest.raises(RefusedFileError, match=words):
        gates.read_router(some_gate(path, digest))


def test_a_file_that_does_not_say_what_it_is_for_is_refused(tmp_path: Path) -> None:
    import hashlib

    data = save(router_tensors(router_weights()))
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(RefusedFileError, match="what it is for"):
        read_gate_file(some_gate(path, hashlib.sha256(data).hexdigest()))


def test_gains_are_read_by_adapter_and_module_and_kinds_are_not_mixed_up(tmp_path: Path) -> None:
    gains = np.array([[0.5, 1.0], [-0.25, 2.0]], np.float32)
    file = router_file(
        router_weights(), kind=GateKind.STATIC, modules=("q_proj", "o_proj"), tensors={"gains": gains}
    )
    path, digest = write_gate_file(tmp_path, file)
    static = some_gate(path, digest, GateKind.STATIC)
    assert gates.read_gains(static) == {
        ONE: (("q_proj", 0.5), ("o_proj", 1.0)),
        TWO: (("q_proj", -0.25), ("o_proj", 2.0)),
    }
    with pytest.raises(ConflictError, match="another kind"):
        gates.read_router(static)
    with pytest.raises(IntegrityError, match="another base or other adapters"):
        gates.read_router(some_gate(path, digest, GateKind.ROUTER))


def test_open_gates_are_read_once_and_the_least_used_go_first(tmp_path: Path) -> None:
    shelf = gates.OpenGates(most=2)
    opened = []
    for temperature in (1.0, 2.0, 3.0):
        path, digest = write_gate_file(tmp_path, router_file(router_weights(temperature=temperature)))
        opened.append(some_gate(path, digest))
    first = shelf.router(opened[0])
    shelf.router(opened[1])
    Path(opened[0].path).unlink()
    Path(opened[1].path).unlink()
    assert shelf.router(opened[0]) is first
    shelf.router(opened[2])
    with pytest.raises(IntegrityError):
        shelf.router(opened[1])


# --- the router ---


def test_the_router_takes_the_nearest_class_and_says_how_sure_it_is() -> None:
    routed = Router((ONE, TWO), router_weights()).choose([-1.0, 0.0])
    chance = 1 / (1 + math.exp(-10))
    assert routed.chosen == ONE
    assert routed.weights == {ONE: 1.0}
    assert routed.probabilities == pytest.approx({ONE: chance, TWO: 1 - chance})
    assert routed.entropy == pytest.approx(-(chance * math.log(chance) + (1 - chance) * math.log(1 - chance)))
    assert (routed.distance, routed.abstained, routed.reason) == (0.0, False, "")


def test_the_router_leaves_unsure_and_foreign_prompts_to_the_base() -> None:
    router = Router((ONE, TWO), router_weights(whitening=np.eye(2)))
    unsure = router.choose([0.0, 0.0])
    assert (unsure.weights, unsure.chosen, unsure.abstained, unsure.reason) == ({}, None, True, "uncertain")
    foreign = router.choose([9.0, 0.0])
    assert foreign.probabilities[TWO] > 0.99
    assert (foreign.weights, foreign.reason) == ({}, "foreign")
    assert foreign.distance == pytest.approx(8 / math.sqrt(2))


def test_how_far_a_class_reaches_decides_what_is_foreign_to_it() -> None:
    narrow = Router((ONE, TWO), router_weights(whitening=np.eye(2)))
    wide = Router((ONE, TWO), router_weights(whitening=np.eye(2), reach=np.array([1.0, 4.0])))
    assert narrow.choose([6.0, 0.0]).reason == "foreign"
    assert wide.choose([6.0, 0.0]).chosen == TWO
    assert wide.choose([-6.0, 0.0]).reason == "foreign"


def test_what_the_directions_leave_out_counts_as_distance() -> None:
    flat = router_weights(
        directions=np.array([[1.0, 0.0]]),
        whitening=np.eye(1),
        centres=np.array([[-1.0], [1.0]]),
        weights=np.array([[-5.0], [5.0]]),
        noise=0.1,
    )
    router = Router((ONE, TWO), flat)
    assert router.choose([1.0, 0.0]).chosen == TWO
    assert router.choose([1.0, 0.5]).reason == "foreign"


def test_the_base_can_be_a_class_of_its_own() -> None:
    router = router_of(router_file(router_weights(3)))
    assert router.classes == (ONE, TWO, BASE)
    routed = router.choose([0.0, 1.0])
    assert (routed.weights, routed.chosen, routed.reason) == ({}, None, "base")


@pytest.mark.parametrize("features", [[1.0], [1.0, 2.0, 3.0], [float("nan"), 0.0], [float("inf"), 0.0]])
def test_features_of_another_base_are_refused(features: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="cannot be routed"):
        Router((ONE, TWO), router_weights()).choose(features)


# --- the report ---


def test_the_comparison_is_paired_and_the_hardest_rival_decides() -> None:
    gate = "x" * 20 + "." * 4
    easy, hard = "." * 24, "x" * 10 + "." * 10 + "x" * 2 + "." * 2
    comparison = compare(
        Policy(GATE, "the gate", results(gate)),
        [Policy("easy", "the easy one", results(easy)), Policy("hard", "the hard one", results(hard))],
    )
    assert (comparison["figure"], comparison["n"], comparison["hardest"]) == (EXACT_MATCH, 24, "hard")
    expected = paired_difference(10, 2, 10, 2)
    assert comparison["differences"][1]["gain"] == {
        "value": expected.value,
        "low": expected.low,
        "high": expected.high,
    }
    share = wilson(20, 24)
    assert comparison["policies"][0]["exact_match"] == {
        "value": share.value,
        "low": share.low,
        "high": share.high,
        "n": 24,
    }
    better, reason = decide(comparison)
    assert better is (expected.low > 0)
    assert "the hard one" in reason
    assert "24 held-out rows" in reason


def test_beating_all_but_one_is_not_enough() -> None:
    gate, worse = results("x" * 24), results("." * 24)
    better, reason = decide(
        compare(Policy(GATE, "g", gate), [Policy("w", "worse", worse), Policy("s", "its equal", gate)])
    )
    assert not better
    assert "its equal" in reason


def test_too_few_rows_decide_nothing() -> None:
    for n in (1, LEAST_ROWS - 1):
        assert not report_of("x" * n, "." * n)["decision"]["promotable"]
    assert report_of("x" * LEAST_ROWS, "." * LEAST_ROWS)["decision"]["promotable"]
    assert not decide({})[0]


def test_free_text_is_judged_by_its_loss_where_less_is_better() -> None:
    def texts(nats: list[float]) -> tuple[RowResult, ...]:
        return tuple(RowResult(False, 0, 1, False, each, 10) for each in nats)

    gate, other = texts([4.0, 5.0] * 6), texts([9.0, 11.0] * 6)
    comparison = compare(Policy(GATE, "g", gate), [Policy("o", "other", other)])
    assert comparison["figure"] == ANSWER_LOSS
    gain = comparison["differences"][0]["gain"]
    assert gain["value"] == pytest.approx(0.55)
    assert gain["low"] < 0.55 < gain["high"]
    assert decide(comparison)[0]
    assert not decide(compare(Policy(GATE, "g", other), [Policy("o", "other", gate)]))[0]


def test_policies_that_answered_other_rows_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same rows"):
        compare(Policy(GATE, "g", results("xx")), [Policy("o", "o", results("x"))])
    with pytest.raises(ValueError, match="same rows"):
        compare(Policy(GATE, "g", ()), [])


def test_routing_is_counted_with_confusion_utilisation_calibration_and_abstention() -> None:
    router = Router((ONE, TWO), router_weights(whitening=np.eye(2)))
    points = [([-1.0, 0.0], 0), ([-1.0, 0.1], 0), ([1.0, 0.0], 1), ([1.0, 0.0], 0), ([0.0, 0.0], 1)]
    points.append(([9.0, 9.0], 2))  # meant for the base, and rightly left to it
    routed = [router.choose(x) for x, _ in points]
    told = routing(routed, [label for _, label in points], ["alpha", "planner", "the base"], router)
    assert told["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert told["accuracy"]["value"] == pytest.approx(4 / 6)
    assert [each["value"] for each in told["utilisation"]] == pytest.approx([2 / 6, 2 / 6, 2 / 6])
    assert (told["abstention"]["uncertain"], told["abstention"]["foreign"]) == (1, 1)
    assert told["entropy"]["most_possible"] == pytest.approx(math.log(2))
    chance = 1 / (1 + math.exp(-10))
    calibration = told["calibration"]
    # Four sure choices of which three are right; one of one half whose tie goes to the first, wrongly.
    assert [each["n"] for each in calibration["bins"]] == [1, 4]
    assert calibration["ece"] == pytest.approx((0.5 + 4 * abs(chance - 0.75)) / 5, abs=1e-3)
