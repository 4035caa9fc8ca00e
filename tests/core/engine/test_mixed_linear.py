"""One layer under random plans, against the sum written out in float64."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from core.engine.lora import Lane, MixedLinear, unwrap_linears, wrap_linears
from core.engine.plan import RowTerm, plan_batch
from core.engine.pool import Pool, lay_out
from core.engine.sites import Site

CPU = torch.device("cpu")
WEIGHTS = st.sampled_from([1.0, 1.0, 0.5, -0.75, 2.0, 0.0])


def filled_pool(sites, ranks, lines, seed):
    pool = Pool(sites, lay_out(sites, ranks), lines, torch.float32, CPU)
    random = torch.Generator().manual_seed(seed)
    for _ in range(lines):
        a = {
            s.index: torch.randn(ranks[s.index], s.in_features, generator=random)
            for s in sites
            if ranks[s.index]
        }
        b = {
            s.index: torch.randn(s.out_features, ranks[s.index], generator=random)
            for s in sites
            if ranks[s.index]
        }
        pool.write(pool.take(), a, b)
    return pool


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_plan_gives_the_float64_sum_of_every_row(data):
    draw = data.draw
    size_in, outs = draw(st.integers(1, 24)), draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    sites = tuple(
        Site(i, f"layer.{n}", size_in, out, 0) for i, (n, out) in enumerate(zip("qkv", outs, strict=False))
    )
    pools = []
    for number in range(draw(st.integers(1, 2))):
        ranks = [draw(st.integers(0, 5)) for _ in sites]
        ranks[draw(st.integers(0, len(sites) - 1))] = draw(st.integers(1, 5))
        pools.append(filled_pool(sites, ranks, lines=6, seed=number))
    rows, length = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    terms = [
        [
            RowTerm(pools[draw(st.integers(0, len(pools) - 1))], draw(st.integers(0, 5)), draw(WEIGHTS))
            for _ in range(draw(st.integers(0, 3)))
        ]
        for _ in range(rows)
    ]
    lane = Lane()
    random = torch.Generator().manual_seed(7)
    layers = [
        MixedLinear(nn.Linear(site.in_features, site.out_features), site, lane, torch.float32)
        for site in sites
    ]
    x = torch.randn(rows, length, size_in, generator=random)
    lane.plan = plan_batch(terms, dtype=torch.float32, device=CPU)
    with torch.inference_mode():
        for site, layer in zip(sites, layers, strict=True):
            found, plain = layer(x), layer.base(x)
            for row in range(rows):
                right = plain[row].double()
                for term in terms[row]:
                    view, place = term.pool.view(term.line, 1), term.pool.layout.placements[site.index]
                    if place is not None:
                        a = view.a[0][0][:, place.column : place.column + place.rank].double()
                        right = right + term.weight * (x[row].double() @ a @ view.b[site.index][0].double())
                assert torch.allclose(found[row].double(), right, atol=1e-4, rtol=1e-5)
                if not any(term.weight for term in terms[row]):
                    assert torch.equal(found[row], plain[row])


def test_rows_with_one_adapter_each_in_order_need_no_gathering():
    sites = (Site(0, "q", 8, 8, 0),)
    pool = filled_pool(sites, [2], lines=4, seed=0)
    in_order = plan_batch([[RowTerm(pool, line, 1.0)] for line in range(4)], dtype=torch.float32, device=CPU)
    assert in_order is not None
    assert in_order.pools[0].whole_batch
    assert len(in_order.pools[0].runs) == 1
    shuffled = plan_batch(
        [[RowTerm(pool, line, 1.0)] for line in (2, 0, 3, 1)], dtype=torch.float32, device=CPU
    )
    assert shuffled is not None
    assert not shuffled.pools[0].whole_batch
    assert len(shuffled.pools[0].runs) == 1


def test_a_batch_without_adapters_has_no_plan():
    sites = (Site(0, "q", 8, 8, 0),)
    pool = filled_pool(sites, [2], lines=1, seed=0)
    assert plan_batch([[], [RowTerm(pool, 0, 0.0)]], dtype=torch.float32, device=CPU) is None


def test_projections_that_read_other_inputs_do_not_share_a_product():
    lane = Lane()
    sites = (Site(0, "q", 6, 4, 0), Site(1, "k", 6, 4, 0))
    pool = filled_pool(sites, [2, 2], lines=1, seed=0)
    q, k = (MixedLinear(nn.Linear(6, 4), site, lane, torch.float32) for site in sites)
    lane.plan = plan_batch([[RowTerm(pool, 0, 1.0)]], dtype=torch.float32, device=CPU)
    first, second = torch.randn(1, 2, 6), torch.randn(1, 2, 6)
    with torch.inference_mode():
        q(first)
        found = k(second)
        lane.forget()
        assert torch.equal(found, k(second))


def test_a_bfloat16_base_gets_the_sum_in_float32_and_other_rows_stay_bit_by_bit():
    lane = Lane()
    site = Site(0, "q", 16, 12, 0)
    pool = filled_pool((site,), [3], lines=1, seed=0)
    layer = MixedLinear(nn.Linear(16, 12, dtype=torch.bfloat16), site, lane, torch.float32)
    x = torch.randn(2, 3, 16, dtype=torch.bfloat16)
    lane.plan = plan_batch([[], [RowTerm(pool, 0, 1.0)]], dtype=torch.float32, device=CPU)
    with torch.inference_mode():
        found, plain = layer(x), layer.base(x)
        view = pool.view(0, 1)
        right = (plain[1].float() + x[1].float() @ view.a[0][0] @ view.b[0][0]).bfloat16()
    assert found.dtype == torch.bfloat16
    assert torch.equal(found[0], plain[0])
    assert torch.allclose(found[1].float(), right.float(), rtol=1e-2)


def test_wrapping_and_unwrapping_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    layers = [model[0], model[2]]
    sites = wrap_linears(model, Lane(), torch.float32)
    assert [site.name for site in sites] == ["0", "2"]
    assert isinstance(model[0], MixedLinear)
    unwrap_linears(model, sites)
    assert [model[0], model[2]] == layers


def test_a_line_that_is_given_back_holds_nothing_any_more():
    sites = (Site(0, "q", 64, 64, 0),)
    pool = filled_pool(sites, [8], lines=2, seed=0)
    assert pool.view(1, 1).b[0].abs().sum() > 0
    pool.give_back(1)
    assert pool.view(1, 1).b[0].abs().sum() == 0
    assert pool.view(0, 1).b[0].abs().sum() > 0
    assert pool.take() == 1


def test_a_slab_that_is_not_mapped_grows_and_keeps_what_it_holds():
    sites = (Site(0, "q", 8, 8, 0),)
    pool = Pool(sites, lay_out(sites, [2]), 11, torch.float32, CPU, mapped=False)
    written = {}
    for line in range(11):
        a, b = torch.full((2, 8), float(line)), torch.full((8, 2), -float(line))
        assert pool.take() == line
        pool.write(line, {0: a}, {0: b})
        written[line] = pool.view(line, 1)
    for line, before in written.items():
        for view in (before, pool.view(line, 1)):
            assert torch.equal(view.a[0][0], torch.full((8, 2), float(line)))
            assert torch.equal(view.b[0][0], torch.full((2, 8), -float(line)))
    pool.give_back(3)
    assert pool.in_use == 10
