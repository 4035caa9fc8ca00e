"""Depth segments, gains per layer and the token gate: exact against float64, and PEFT's Arrow as a second opinion."""

import json
import math

import peft
import pytest
import torch
import transformers
from peft.tuners.lora.arrow import ArrowLoraLinearLayer
from safetensors.torch import load_file

from core.engine.plan import RowTerm, plan_batch
from core.engine.pool import Pool, lay_out
from core.engine.records import Composition, TokenGate, WeightedAdapter
from core.engine.site_factors import SiteFactors
from core.engine.token_gate import leading_directions
from core.errors import InvalidInputError

# PEFT 0.21 asks transformers 5 for a property that has a new name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

CPU = torch.device("cpu")


def composition_of(kernel_bench, *terms, gate=None):
    method = "gated" if gate else "additive"
    return Composition(kernel_bench.base.digest, terms, method, gate)


def run(kernel_bench, compositions, ids, **inputs):
    """Logits of rows with one composition each, straight through the kernel."""
    kernel = kernel_bench.kernel
    leases = [kernel.bank.lease(composition) for composition in compositions]
    kernel.lane.plan = plan_batch(
        [lease.terms for lease in leases],
        gates=[lease.gate for lease in leases],
        dtype=torch.float32,
        device=CPU,
    )
    try:
        with torch.inference_mode():
            return kernel_bench.base.model(input_ids=ids, **inputs).logits.clone()
    finally:
        kernel.lane.plan = None
        kernel.lane.forget()
        for lease in leases:
            lease.release()


def deltas_of(ref):
    """(A, B·scale) in float64 by layer name."""
    config = json.loads((ref.path / "adapter_config.json").read_text())
    tensors = load_file(ref.path / "adapter_model.safetensors")
    scale = config["lora_alpha"] / config["r"]
    return {
        key.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): (
            tensors[key].double(),
            tensors[key.replace("lora_A", "lora_B")].double() * scale,
        )
        for key in tensors
        if key.endswith("lora_A.weight")
    }


def reference(kernel_bench, composition, ids):
    """The oracle: every layer's sum written out in float64 from the definition, gate included, singular vectors by a
    full SVD of ΔW."""
    model = transformers.AutoModelForCausalLM.from_pretrained(kernel_bench.base_folder, dtype=torch.float64)
    adapters = {term.adapter.digest: deltas_of(term.adapter) for term in composition.terms}

    def weights_at(name):
        weights = {}
        for term in composition.terms:
            block = int(name.split(".")[2]) if ".layers." in name else None
            inside = term.layers is None or (block is not None and term.layers[0] <= block <= term.layers[1])
            gain = math.prod(gain for module, gain in term.gains if module == name)
            if name in adapters[term.adapter.digest]:
                weight = weights.get(term.adapter.digest, 0.0) + term.weight * gain * inside
                weights[term.adapter.digest] = weight
        return {digest: weight for digest, weight in weights.items() if weight}

    def hook(name):
        weights = weights_at(name)

        def add(module, inputs, output):
            x = inputs[0]
            parts = [x @ adapters[d][name][0].T @ adapters[d][name][1].T * w for d, w in weights.items()]
            if composition.gate and len(composition.terms) > 1 and parts:
                directions = [
                    torch.linalg.svd(adapters[d][name][1] @ adapters[d][name][0])[2][0] for d in weights
                ]
                scores = torch.stack([(x @ v).abs() for v in directions], dim=-1)
                best, chosen = scores.topk(min(composition.gate.top_k, len(parts)), dim=-1)
                shares = torch.zeros_like(scores).scatter(
                    -1, chosen, (best / composition.gate.temperature).softmax(-1)
                )
                parts = [part * shares[..., k : k + 1] for k, part in enumerate(parts)]
            return output + sum(parts) if parts else output

        return add

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(hook(name))
    with torch.inference_mode():
        return model(input_ids=ids).logits


def relative_error(found, right):
    return float((found.double() - right.double()).abs().max() / right.double().abs().max())


@pytest.fixture(scope="module")
def adapters(kernel_bench):
    return {
        "a": kernel_bench.adapter("gate-a"),
        "b": kernel_bench.adapter("gate-b"),
        "c": kernel_bench.adapter("gate-c", rank=2, alpha=4.0),
        "attention": kernel_bench.adapter("gate-attention", only={"q_proj", "v_proj"}, rank=6, alpha=6.0),
        "d": kernel_bench.adapter("gate-d"),
    }


# --- depth segments and gains ---


@pytest.mark.parametrize(
    "terms",
    [
        [("a", 1.0, (0, 0), ())],
        [("a", 1.0, (1, 1), ())],
        [("a", 0.5, (0, 1), ())],
        [("a", 1.0, (0, 0), ()), ("b", 1.0, (1, 1), ())],
        [("a", 0.7, (0, 0), ()), ("a", -0.4, (1, 1), ())],
        [("a", 0.7, (0, 1), ()), ("a", 0.3, (1, 1), ()), ("a", 0.1, None, ())],
        [("a", 1.0, None, (("model.layers.0.self_attn.q_proj", 0.25), ("model.layers.1.mlp.up_proj", -2.0)))],
        [("a", 1.0, None, (("model.layers.0.self_attn.q_proj", 0.0),)), ("attention", 0.5, (1, 1), ())],
        [("c", 0.6, (0, 0), (("model.layers.0.mlp.gate_proj", 3.0),)), ("c", 0.6, None, ()), ("b", 1.0, None, ())],
    ],
    ids=lambda terms: "+".join(f"{w}·{n}{layers or ''}{'*' * len(gains)}" for n, w, layers, gains in terms),
)  # fmt: skip
def test_segments_and_gains_equal_the_sum_written_out_in_float64(kernel_bench, adapters, terms):
    composition = composition_of(
        kernel_bench, *[WeightedAdapter(adapters[n], w, layers, gains) for n, w, layers, gains in terms]
    )
    ids = kernel_bench.ids(2)
    right = reference(kernel_bench, composition, ids)
    assert relative_error(run(kernel_bench, [composition] * 2, ids), right) <= 1e-5
    plain = composition_of(kernel_bench, *[WeightedAdapter(adapters[n], w) for n, w, _, _ in terms])
    if any(layers not in (None, (0, 1)) or gains for _, _, layers, gains in terms):
        assert relative_error(run(kernel_bench, [plain] * 2, ids), right) > 1e-3, "they must matter"


def test_a_segment_over_all_blocks_is_the_adapter_and_two_halves_add_up_to_it(kernel_bench, adapters):
    ids = kernel_bench.ids(1)
    whole = run(kernel_bench, [composition_of(kernel_bench, WeightedAdapter(adapters["a"], 0.8))], ids)
    for segments in ([(0, 1)], [(0, 0), (1, 1)]):
        terms = [WeightedAdapter(adapters["a"], 0.8, segment) for segment in segments]
        assert torch.equal(run(kernel_bench, [composition_of(kernel_bench, *terms)], ids), whole)


def test_an_adapter_costs_nothing_on_the_blocks_where_it_does_not_act(kernel_bench, adapters):
    lease = kernel_bench.kernel.bank.lease(
        composition_of(kernel_bench, WeightedAdapter(adapters["a"], 1.0, (1, 1)))
    )
    plan = plan_batch([lease.terms], dtype=torch.float32, device=CPU)
    lease.release()
    sites = kernel_bench.kernel.sites
    acting = {site.name for site, place in zip(sites, plan.pools[0].placements, strict=True) if place}
    assert acting == {name for name in kernel_bench.shapes if name.startswith("model.layers.1.")}
    groups = {site.group for site in sites if site.name in acting}
    assert set(plan.pools[0].runs[0].view.a) == groups


def test_rows_with_segments_beside_plain_rows_and_the_base_are_the_rows_alone(kernel_bench, adapters):
    a, b, c = (adapters[n] for n in "abc")
    compositions = [
        composition_of(kernel_bench, WeightedAdapter(a, 1.0)),
        composition_of(kernel_bench, WeightedAdapter(a, 1.0, (0, 0))),
        composition_of(kernel_bench),
        composition_of(kernel_bench, WeightedAdapter(a, 0.5, (1, 1)), WeightedAdapter(b, 0.5, (0, 0))),
        composition_of(kernel_bench, WeightedAdapter(c, 1.0, None, (("model.layers.1.mlp.down_proj", 0.5),))),
        composition_of(kernel_bench, WeightedAdapter(b, 1.0), WeightedAdapter(c, -0.5)),
    ]
    ids = kernel_bench.ids(len(compositions))
    together = run(kernel_bench, compositions, ids)
    for row, composition in enumerate(compositions):
        alone = run(kernel_bench, [composition], ids[row : row + 1])[0]
        assert relative_error(together[row], alone) <= 1e-6
    base = run(kernel_bench, [composition_of(kernel_bench)] * len(compositions), ids)
    assert torch.equal(together[2], base[2])


def test_a_gain_on_the_output_head_counts_only_without_a_segment(make_base, tmp_path):
    from core.engine.site_factors import SiteMap
    from core.engine.sites import Site

    sites = (Site(0, "model.layers.0.mlp.up_proj", 4, 4, 0), Site(1, "lm_head", 4, 9, 1))
    from core.engine.records import AdapterRef

    ref = AdapterRef("d" * 64, tmp_path)
    weigh = SiteMap(sites).weigh
    everywhere = weigh(Composition("0" * 64, (WeightedAdapter(ref, 2.0, None, (("lm_head", 0.5),)),)))
    assert everywhere["d" * 64].values == (2.0, 1.0)
    segment = weigh(Composition("0" * 64, (WeightedAdapter(ref, 2.0, (0, 0), (("lm_head", 0.5),)),)))
    assert segment["d" * 64].values == (2.0, 0.0)


@pytest.mark.parametrize(
    ("layers", "gains", "says"),
    [
        (None, (("model.layers.7.mlp.up_proj", 1.5),), r"model\.layers\.7\.mlp\.up_proj"),
        (None, (("up_proj", 1.0),), "up_proj"),
        ((0, 2), (), "0 to 1"),
        ((-1, 1), (), "0 to 1"),
        ((1, 0), (), "0 to 1"),
        (None, (("model.layers.0.mlp.up_proj", float("nan")),), "nan"),
        (None, (("model.layers.0.mlp.up_proj", float("inf")),), "inf"),
    ],
    ids=str,
)
def test_what_the_base_does_not_have_is_refused_by_name(kernel_bench, adapters, layers, gains, says):
    composition = composition_of(kernel_bench, WeightedAdapter(adapters["a"], 1.0, layers, gains))
    with pytest.raises(InvalidInputError, match=says):
        kernel_bench.kernel.bank.lease(composition)


def test_terms_that_cancel_at_every_layer_load_nothing(kernel_bench, adapters):
    terms = [
        WeightedAdapter(adapters["d"], 1.0),
        WeightedAdapter(adapters["d"], -1.0, (0, 0)),
        WeightedAdapter(adapters["d"], -1.0, (1, 1)),
        WeightedAdapter(adapters["d"], -1.0, None, tuple((name, 0.0) for name in kernel_bench.shapes)),
        WeightedAdapter(adapters["d"], 0.0),
    ]
    lease = kernel_bench.kernel.bank.lease(composition_of(kernel_bench, *terms[:3]))
    ids = kernel_bench.ids(1)
    assert torch.equal(
        run(kernel_bench, [composition_of(kernel_bench, *terms[:3])], ids),
        run(kernel_bench, [composition_of(kernel_bench)], ids),
    )
    lease.release()


# --- the token gate ---


def gated(kernel_bench, names, adapters, weight=1.0, **gate):
    terms = [WeightedAdapter(adapters[name], weight) for name in names]
    return composition_of(kernel_bench, *terms, gate=TokenGate(**gate))


def test_the_direction_of_an_adapter_is_the_first_right_singular_vector_of_its_delta(kernel_bench, adapters):
    sites = kernel_bench.kernel.sites
    for name in ("a", "c", "attention"):
        lease = kernel_bench.kernel.bank.lease(
            composition_of(kernel_bench, WeightedAdapter(adapters[name], 1.0))
        )
        term = lease.terms[0]
        found = leading_directions(term.pool.view(term.line, 1), term.pool.layout, sites)
        lease.release()
        parts = deltas_of(adapters[name])
        for site in sites:
            members = [s.index for s in sites if s.group == site.group]
            if site.name in parts:
                a, b = parts[site.name]
                right = torch.linalg.svd(b @ a)[2][0]
                direction = found[site.group][:, members.index(site.index)].double()
                assert abs(abs(float(direction @ right)) - 1.0) < 1e-6
            elif site.group in found:
                assert not found[site.group][:, members.index(site.index)].any()


def test_an_adapter_that_changes_nothing_has_no_direction():
    from core.engine.sites import Site

    sites = (Site(0, "q", 8, 6, 0),)
    pool = Pool(sites, lay_out(sites, [2]), 1, torch.float32, CPU)
    pool.write(pool.take(), {0: torch.randn(2, 8)}, {0: torch.zeros(6, 2)})
    assert not leading_directions(pool.view(0, 1), pool.layout, sites)[0].any()


@pytest.mark.parametrize(
    ("names", "gate"),
    [
        ("abd", {"top_k": 3}),
        ("abcd", {"top_k": 4, "temperature": 0.5}),
        (("a", "b", "c", "attention"), {"top_k": 4, "temperature": 2.0}),
        ("abcd", {"top_k": 2}),
        ("abcd", {"top_k": 1}),
        (("a", "attention"), {"top_k": 1}),
        ("ab", {"top_k": 5}),
    ],
    ids=str,
)
def test_11_the_token_gate_equals_the_definition_in_float64(kernel_bench, adapters, names, gate):
    composition = gated(kernel_bench, names, adapters, weight=0.8, **gate)
    ids = kernel_bench.ids(2)
    right = reference(kernel_bench, composition, ids)
    assert relative_error(run(kernel_bench, [composition] * 2, ids), right) <= 1e-5
    additive = composition_of(kernel_bench, *composition.terms)
    assert relative_error(run(kernel_bench, [additive] * 2, ids), right) > 1e-3


def test_11_top_1_of_one_adapter_is_that_adapter(kernel_bench, adapters):
    ids = kernel_bench.ids(2)
    single = composition_of(kernel_bench, WeightedAdapter(adapters["a"], 0.7))
    alone = gated(kernel_bench, "a", adapters, weight=0.7, top_k=1)
    assert torch.equal(run(kernel_bench, [alone] * 2, ids), run(kernel_bench, [single] * 2, ids))


def test_11_a_very_high_temperature_gives_every_adapter_the_same_share(kernel_bench, adapters):
    ids = kernel_bench.ids(2)
    even = gated(kernel_bench, "abcd", adapters, top_k=4, temperature=1e9)
    quarter = composition_of(kernel_bench, *[WeightedAdapter(adapters[n], 0.25) for n in "abcd"])
    assert relative_error(run(kernel_bench, [even] * 2, ids), run(kernel_bench, [quarter] * 2, ids)) <= 1e-6


def test_the_same_adapter_twice_is_one_candidate(kernel_bench, adapters):
    ids = kernel_bench.ids(1)
    gate = TokenGate(top_k=1)
    once = composition_of(
        kernel_bench, WeightedAdapter(adapters["a"], 1.0), WeightedAdapter(adapters["b"], 1.0), gate=gate
    )
    twice = composition_of(
        kernel_bench,
        WeightedAdapter(adapters["b"], 1.0),
        WeightedAdapter(adapters["a"], 0.5, (0, 0)),
        WeightedAdapter(adapters["a"], 0.5),
        WeightedAdapter(adapters["a"], 0.5, (1, 1)),
        gate=gate,
    )
    assert relative_error(run(kernel_bench, [twice], ids), run(kernel_bench, [once], ids)) <= 1e-6


def test_a_gate_chooses_only_among_adapters_that_act_on_the_layer(kernel_bench, adapters):
    ids = kernel_bench.ids(2)
    composition = composition_of(
        kernel_bench,
        WeightedAdapter(adapters["a"], 1.0, (0, 0)),
        WeightedAdapter(adapters["b"], 1.0, (1, 1)),
        WeightedAdapter(adapters["attention"], 1.0, None, (("model.layers.0.self_attn.q_proj", 0.0),)),
        gate=TokenGate(top_k=1, temperature=0.7),
    )
    right = reference(kernel_bench, composition, ids)
    assert relative_error(run(kernel_bench, [composition] * 2, ids), right) <= 1e-5


def test_gated_rows_beside_plain_rows_are_the_rows_alone(kernel_bench, adapters):
    a, c = adapters["a"], adapters["c"]
    compositions = [
        gated(kernel_bench, "abd", adapters, top_k=2),
        composition_of(kernel_bench, WeightedAdapter(a, 1.0)),
        gated(kernel_bench, "abd", adapters, top_k=2),
        composition_of(kernel_bench),
        gated(kernel_bench, ("a", "c", "attention"), adapters, top_k=1, temperature=0.3),
        composition_of(kernel_bench, WeightedAdapter(a, 0.4, (0, 0)), WeightedAdapter(c, 1.0)),
        gated(kernel_bench, ("c", "attention"), adapters, top_k=2, temperature=5.0),
    ]
    ids = kernel_bench.ids(len(compositions), length=7)
    together = run(kernel_bench, compositions, ids)
    for row, composition in enumerate(compositions):
        alone = run(kernel_bench, [composition], ids[row : row + 1])[0]
        assert relative_error(together[row], alone) <= 2e-6
    base = run(kernel_bench, [composition_of(kernel_bench)] * len(compositions), ids)
    assert torch.equal(together[3], base[3])


def test_padding_before_a_gated_row_changes_nothing(kernel_bench, adapters):
    composition = gated(kernel_bench, "abd", adapters, top_k=2)
    ids = kernel_bench.ids(1, length=6)
    right = run(kernel_bench, [composition], ids)
    padded = torch.cat([torch.full((1, 4), 7), ids], dim=1)
    mask = torch.tensor([[0] * 4 + [1] * 6])
    found = run(
        kernel_bench,
        [composition],
        padded,
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
    )
    assert relative_error(found[:, 4:], right) <= 1e-5


def test_a_neighbour_that_is_not_a_number_changes_nothing_in_a_gated_row(kernel_bench, adapters):
    bad = kernel_bench.adapter("gate-bad")
    compositions = [
        gated(kernel_bench, "abd", adapters, top_k=2),
        gated(kernel_bench, ("a", "bad"), {**adapters, "bad": bad}, top_k=2),
        composition_of(kernel_bench, WeightedAdapter(adapters["a"], 1.0)),
    ]
    ids = kernel_bench.ids(3)
    before = run(kernel_bench, compositions, ids)
    lease = kernel_bench.kernel.bank.lease(composition_of(kernel_bench, WeightedAdapter(bad, 1.0)))
    term = lease.terms[0]
    for matrix in term.pool.view(term.line, 1).a.values():
        matrix.fill_(math.nan)
    after = run(kernel_bench, compositions, ids)
    lease.release()
    kernel_bench.kernel.bank.unload(bad.digest)
    assert not torch.isfinite(after[1]).all()
    assert torch.equal(after[[0, 2]], before[[0, 2]])


def test_rows_that_ask_for_the_same_gate_share_it(kernel_bench, adapters):
    bank = kernel_bench.kernel.bank
    one, two = (bank.lease(gated(kernel_bench, "abd", adapters, top_k=2)) for _ in range(2))
    other = bank.lease(gated(kernel_bench, "abd", adapters, top_k=1))
    assert one.gate is two.gate
    assert other.gate is not one.gate
    for lease in (one, two, other):
        lease.release()


@pytest.mark.parametrize(
    "gate", [TokenGate(0), TokenGate(2, 0.0), TokenGate(2, -1.0), TokenGate(2, math.nan), TokenGate(2, math.inf)]
)  # fmt: skip
def test_a_gate_whose_numbers_make_no_sense_is_refused(kernel_bench, adapters, gate):
    terms = [WeightedAdapter(adapters[name], 1.0) for name in "ab"]
    with pytest.raises(InvalidInputError, match="token gate"):
        kernel_bench.kernel.bank.lease(composition_of(kernel_bench, *terms, gate=gate))


@pytest.mark.parametrize(("top_k", "temperature"), [(1, 1.0), (2, 0.25), (3, 4.0)])
def test_the_token_gate_gives_the_logits_of_pefts_arrow(
    kernel_bench, tmp_path, monkeypatch, top_k, temperature
):
    """PEFT finds the directions by 15 power iterations from a random start. Two first singular values can lie close
    together, so it is given enough iterations to arrive."""

    def focus(tensors):
        for name in tensors:  # one direction that stands out
            if "lora_A" in name:
                tensors[name][1:] *= 0.2

    refs = [kernel_bench.adapter(f"{tmp_path.name}-arrow{n}", edit=focus) for n in range(3)]
    slow = ArrowLoraLinearLayer.top_right_singular_vec_from_BA
    monkeypatch.setattr(
        ArrowLoraLinearLayer, "top_right_singular_vec_from_BA", lambda self, a, b: slow(self, a, b, iters=60)
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(kernel_bench.base_folder)
    config = peft.ArrowConfig(top_k=top_k, router_temperature=temperature, rng_seed=0)
    model = peft.create_arrow_model(model, [str(ref.path) for ref in refs], config).eval()
    ids = kernel_bench.ids(2, length=12)
    with torch.inference_mode():
        right = model(input_ids=ids).logits
    terms = [WeightedAdapter(ref, 1.0) for ref in refs]
    composition = composition_of(kernel_bench, *terms, gate=TokenGate(top_k, temperature))
    found = run(kernel_bench, [composition] * 2, ids)
    assert relative_error(found, right) <= 1e-5
    assert torch.equal(found.argmax(-1), right.argmax(-1))
    additive = run(kernel_bench, [composition_of(kernel_bench, *terms)] * 2, ids)
    assert relative_error(additive, right) > 1e-2


def test_factors_that_are_equal_where_the_adapter_acts_are_one_number():
    factors = SiteFactors.of([0.5, 0.5, 0.0])
    assert factors.on([4, 4, 0]) == 0.5
    assert factors.on([4, 4, 4]) is factors
    term = RowTerm(None, 0, 1.0, SiteFactors.of([0.0, 0.0]))
    assert not term.acts
