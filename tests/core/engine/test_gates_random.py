"""Test 17: random shapes, ranks, weights, factors and gates of one layer, against the sum written out in float64; the
same on a GPU where there is one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from core.engine.lora import Lane, MixedLinear
from core.engine.plan import RowTerm, plan_batch
from core.engine.pool import Pool, lay_out
from core.engine.site_factors import SiteFactors
from core.engine.sites import Site
from core.engine.token_gate import leading_directions, make_row_gate

CPU = torch.device("cpu")
LINES = 4
FACTORS = st.sampled_from([1.0, 0.0, 0.5, -1.5])


def filled_pool(sites, ranks, seed, device=CPU):
    pool = Pool(sites, lay_out(sites, ranks), LINES, torch.float32, device)
    random = torch.Generator().manual_seed(seed)
    for _ in range(LINES):
        touched = [site for site in sites if ranks[site.index]]
        a = {s.index: torch.randn(ranks[s.index], s.in_features, generator=random) for s in touched}
        b = {s.index: torch.randn(s.out_features, ranks[s.index], generator=random) for s in touched}
        pool.write(pool.take(), a, b)
    return pool


def gate_over(terms, sites, top_k, temperature):
    adapters = []
    for term in terms:
        touched = frozenset(site for site, rank in enumerate(term.pool.layout.ranks) if rank)
        directions = leading_directions(term.pool.view(term.line, 1), term.pool.layout, sites)
        adapters.append((directions, touched & term.factors.active if term.factors else touched))
    return make_row_gate(top_k, temperature, adapters, sites)


def right_sum(terms, gate, site, x):
    """What the row's adapters add at a site, in float64; directions by a full SVD. Also how close the choice was."""
    parts, scores = [], []
    for term in terms:
        place = term.pool.layout.placements[site.index]
        factor = term.factors.values[site.index] if term.factors else 1.0
        if place is None or term.weight * factor == 0.0:
            continue
        view = term.pool.view(term.line, 1)
        a = view.a[site.group][0][:, place.column : place.column + place.rank].double().cpu()
        b = view.b[site.index][0].double().cpu()
        parts.append(term.weight * factor * (x @ a @ b))
        scores.append((x @ torch.linalg.svd((a @ b).T)[2][0]).abs())
    margin = 1.0
    if gate and parts:
        stack = torch.stack(scores, dim=-1)
        best, chosen = stack.topk(min(gate.top_k, len(parts)), dim=-1)
        if gate.top_k < len(parts):
            following = stack.topk(gate.top_k + 1, dim=-1).values
            margin = float((following[..., -2] - following[..., -1]).min())
        shares = torch.zeros_like(stack).scatter(-1, chosen, (best / gate.temperature).softmax(-1))
        parts = [part * shares[..., k : k + 1] for k, part in enumerate(parts)]
    return sum(parts), margin


def check(data, device):
    draw = data.draw
    size_in, outs = draw(st.integers(2, 20)), draw(st.lists(st.integers(2, 16), min_size=1, max_size=3))
    sites = tuple(
        Site(i, f"layer.{n}", size_in, out, 0) for i, (n, out) in enumerate(zip("qkv", outs, strict=False))
    )
    pools = []
    for number in range(draw(st.integers(1, 2))):
        ranks = [draw(st.integers(0, 4)) for _ in sites]
        ranks[draw(st.integers(0, len(sites) - 1))] = draw(st.integers(1, 4))
        pools.append(filled_pool(sites, ranks, number, device))
    places = [(pool, line) for pool in pools for line in range(LINES)]
    rows, length = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    terms, gates = [], []
    for _ in range(rows):
        row = []
        for pool, line in draw(st.lists(st.sampled_from(places), max_size=4, unique=True)):
            factors = draw(st.none() | st.tuples(*[FACTORS] * len(sites)).filter(any).map(SiteFactors.of))
            row.append(RowTerm(pool, line, draw(st.sampled_from([1.0, 0.5, -2.0])), factors))
        gated = len(row) > 1 and draw(st.booleans())
        settings_of_gate = (draw(st.integers(1, 4)), draw(st.sampled_from([0.5, 1.0, 20.0])))
        gates.append(gate_over(row, sites, *settings_of_gate) if gated else None)
        terms.append(row)
    lane = Lane()
    x = torch.randn(rows, length, size_in, generator=torch.Generator().manual_seed(3)).to(device)
    lane.plan = plan_batch(terms, gates=gates, dtype=torch.float32, device=device)
    with torch.inference_mode():
        for site in sites:
            layer = MixedLinear(
                nn.Linear(size_in, site.out_features, device=device), site, lane, torch.float32
            )
            found, plain = layer(x), layer.base(x)
            for row in range(rows):
                added, margin = right_sum(terms[row], gates[row], site, x[row].double().cpu())
                if margin > 1e-4:  # closer than that, either choice is right
                    right = plain[row].double().cpu() + added
                    assert torch.allclose(found[row].double().cpu(), right, atol=2e-4, rtol=1e-5)
                if not terms[row]:
                    assert torch.equal(found[row], plain[row])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_17_any_mixture_of_factors_and_gates_gives_the_float64_sum_of_every_row(data):
    check(data, CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_17_the_same_on_a_gpu(data):
    torch.backends.cuda.matmul.allow_tf32 = False
    check(data, torch.device("cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_slab_on_a_gpu_is_the_slab_on_the_cpu_and_shrinks_when_its_adapters_leave():
    sites = (Site(0, "q", 32, 24, 0), Site(1, "k", 32, 24, 0))
    left, right = (filled_pool(sites, [3, 2], 5, torch.device(kind)) for kind in ("cpu", "cuda"))
    for line in range(LINES):
        ours, theirs = left.view(line, 1), right.view(line, 1)
        assert torch.equal(ours.a[0], theirs.a[0].cpu())
        assert all(torch.equal(a, b.cpu()) for a, b in zip(ours.b, theirs.b, strict=True))
