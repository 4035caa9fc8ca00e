"""The grouped LoRA kernels: torch against sums written out in float64, Triton against torch (in Triton's interpreter, which
needs no GPU), and the engine with a kernel against the engine without."""

import importlib.util
import logging
import os
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import nn

from core.engine import kernels
from core.engine.base import load_base
from core.engine.kernels.grouped_torch import TORCH_LORA
from core.engine.kernels.places import GroupedLora, Places
from core.engine.local import LocalEngine
from core.engine.lora import Lane, MixedLinear
from core.engine.plan import RowTerm, plan_batch
from core.engine.pool import Pool, lay_out
from core.engine.site_factors import SiteFactors
from core.engine.sites import Site
from core.engine.token_gate import leading_directions, make_row_gate
from tests.core.engine.conftest import Bench, ask

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
HAS_TRITON = importlib.util.find_spec("triton") is not None
on_gpu = pytest.mark.skipif(not torch.cuda.is_available() or not HAS_TRITON, reason="no GPU with Triton here")
# Of the sum of the sizes of all terms; float16 and bfloat16 round A·x and the result once each.
CLOSE = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


class Problem:
    """A slab with A and B of one group of sites somewhere inside its lines, and rows that use some of them."""

    def __init__(self, seed, dtype, length, device=CPU, largest=200):
        draw, self.numbers = random.Random(seed), torch.Generator().manual_seed(seed)
        rows, lines = draw.randint(1, 6), draw.randint(1, 5)
        self.size = draw.choice([1, 8, 33, 64, draw.randint(2, largest)])
        ranks = [draw.choice([1, 2, 5, 8, 16, 17, 40]) for _ in range(draw.randint(1, 3))]
        self.columns, self.site = sum(ranks), draw.randrange(len(ranks))
        self.rank, self.column = ranks[self.site], sum(ranks[: self.site])
        self.out_size = draw.choice([1, 16, 128, draw.randint(2, largest)])
        self.a_at = draw.randint(0, 20)
        self.b_at = self.a_at + self.columns * self.size + draw.randint(0, 20)
        places = [
            (line, row) for row in range(rows) for line in draw.choices(range(lines), k=draw.randint(0, 4))
        ]
        places = sorted(places) or [(0, 0)]
        self.lines, self.rows = [line for line, _ in places], [row for _, row in places]
        tail = draw.randint(0, 9)
        self.slab = self.normal(lines, self.b_at + self.rank * self.out_size + tail).to(device, dtype)
        # Neither inputs nor outputs need to lie in a row: a slice of a wider tensor, and one with its sides turned.
        self.x = self.normal(rows, length, 2 * self.size).to(device, dtype)[:, :, :: draw.choice([1, 2])]
        self.x = self.x[:, :, : self.size]
        self.out = self.normal(self.out_size, length, rows).to(device, dtype).permute(2, 1, 0)
        if draw.choice([True, False]):
            self.out = self.out.contiguous()
        shapes = [(1, 1), (1, self.columns), (length, self.columns)]
        shape = draw.choice([None, *shapes])
        self.scale = None if shape is None else self.normal(len(places), *shape).to(device, dtype)

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.numbers)

    def solve(self, kernel: GroupedLora):
        places = Places.of(self.slab, self.lines, self.rows)
        out = self.out.clone(memory_format=torch.preserve_format)
        low = kernel.shrink(self.x, places, self.a_at, self.columns, self.scale)
        assert low.dtype is torch.float32
        kernel.expand_add(low, places, self.b_at, self.column, self.rank, out)
        return out

    def off(self, found, right):
        """Largest difference, as a share of the sum of the sizes of what was added."""
        return float(((found.double().cpu() - right.double().cpu()).abs() / self.right(sizes=True)).max())

    def right(self, sizes=False):
        """Place by place, with dense matrices in float64. `sizes`: of absolute values."""

        def exact(values):
            return values.double().cpu().abs() if sizes else values.double().cpu()

        total, slab, x = exact(self.out), exact(self.slab), exact(self.x)
        total = total.clone()
        for number, (line, row) in enumerate(zip(self.lines, self.rows, strict=True)):
            a = slab[line, self.a_at :][: self.columns * self.size].view(self.columns, self.size)
            b = slab[line, self.b_at :][: self.rank * self.out_size].view(self.rank, self.out_size)
            low = x[row] @ a.T
            if self.scale is not None:
                low = low * exact(self.scale[number])
            total[row] += low[:, self.column : self.column + self.rank] @ b
        return total


def far(found, right):
    return float((found.double().cpu() - right.double().cpu()).abs().max() / right.double().abs().max().cpu())


def check_shapes(kernel, device=CPU, seeds=range(8)):
    """Any shape, rank, weight, stride and type: near float64 and near torch; rows without a place stay as they are."""
    for dtype, close in CLOSE.items():
        for seed in seeds:
            problem = Problem(seed, dtype, length=(1, 2, 7, 16, 17, 70)[seed % 6], device=device)
            found, told = problem.solve(kernel), problem.solve(TORCH_LORA)
            assert problem.off(found, problem.right()) < close, (seed, dtype)
            assert problem.off(found, told) < close, (seed, dtype)
            for row in set(range(len(problem.out))) - set(problem.rows):
                assert torch.equal(found[row], problem.out[row])
    large = Problem(3, torch.float32, length=1, device=device, largest=3000)
    large.size = 2500  # more than one part
    large.slab, large.x = large.normal(5, 400_000).to(device), large.normal(6, 1, 2500).to(device)
    large.b_at = large.a_at + large.columns * large.size
    assert large.b_at + large.rank * large.out_size <= 400_000
    assert large.off(large.solve(kernel), large.right()) < CLOSE[torch.float32]


def check_rows_apart(kernel, device=CPU):
    """What a row gets in decoding has the same bits beside other rows; NaN in one row stays there."""
    problem = Problem(8, torch.float32, length=1, device=device)
    problem.lines, problem.rows, problem.scale = [0, 0, 0], [0, 1, 1], None
    problem.x, problem.out = problem.normal(2, 1, problem.size), problem.normal(2, 1, problem.out_size)
    problem.x, problem.out = problem.x.to(device), problem.out.to(device)
    both = problem.solve(kernel)
    problem.x[0] = torch.nan
    broken = problem.solve(kernel)
    assert broken[0].isnan().all()
    assert torch.equal(broken[1], both[1])
    problem.x, problem.out = problem.x[1:], problem.out[1:]
    problem.lines, problem.rows = [0, 0], [0, 0]
    assert torch.equal(problem.solve(kernel)[0], both[1])


def check_layers(kernel, device=CPU):
    """Plans with mixtures, two pools, factors by site and token gates: as one bmm per run."""
    sites = tuple(
        Site(n, f"layer.{name}", 24, out, 0)
        for n, (name, out) in enumerate(zip("qkv", (20, 7, 33), strict=True))
    )
    pools = []
    for ranks in ([4, 0, 2], [3, 5, 18]):
        pool = Pool(sites, lay_out(sites, ranks), 8, torch.float32, device, mapped=False)
        numbers = torch.Generator().manual_seed(len(pools))
        for _ in range(6):  # the slab of a GPU grows on the way
            touched = [site for site in sites if ranks[site.index]]
            a = {s.index: torch.randn(ranks[s.index], s.in_features, generator=numbers) for s in touched}
            b = {s.index: torch.randn(s.out_features, ranks[s.index], generator=numbers) for s in touched}
            pool.write(pool.take(), a, b)
        pools.append(pool)
    one, two = pools
    factors = SiteFactors.of([0.0, 1.5, -0.5])
    gated = [RowTerm(one, 5, 1.0), RowTerm(two, 0, 0.5, factors), RowTerm(two, 2, -1.0)]
    adapters = [
        (
            leading_directions(term.pool.view(term.line, 1), term.pool.layout, sites),
            frozenset(s for s, rank in enumerate(term.pool.layout.ranks) if rank)
            & (term.factors.active if term.factors else frozenset(range(3))),
        )
        for term in gated
    ]
    gate = make_row_gate(2, 0.7, adapters, sites)
    batches = [
        ([[RowTerm(one, 0, 1.0)], [RowTerm(one, 3, 1.0)]], None),
        ([[RowTerm(two, 5, 0.5), RowTerm(two, 1, 2.0), RowTerm(one, 1, 1.0)], [], [RowTerm(two, 1, 1.0)]], None),
        ([[RowTerm(one, 2, 1.0, factors)], gated, [RowTerm(two, 4, 0.25)], []], [None, gate, None, None]),
    ]  # fmt: skip
    for terms, gates in batches:
        for length in (1, 3, 18):
            x = torch.randn(len(terms), length, 24, generator=torch.Generator().manual_seed(9)).to(device)
            lane = Lane()
            for site in sites:
                layer = MixedLinear(
                    nn.Linear(24, site.out_features, device=device), site, lane, torch.float32
                )
                outs = []
                for way in (None, kernel):
                    lane.plan = plan_batch(terms, dtype=torch.float32, device=device, gates=gates, kernel=way)
                    lane.forget()
                    with torch.inference_mode():
                        outs.append(layer(x))
                assert far(outs[1], outs[0]) < 5e-6
                for row, own in enumerate(terms):
                    if not own:
                        assert torch.equal(outs[1][row], layer.base(x)[row])


def check_engine(kernel, folder, device="cpu"):
    """Greedy tokens of one adapter, a mixture and the base, alone and together: with the kernel as without."""
    tokens = []
    bench = Bench(folder, tie_word_embeddings=True)  # its own engine is not asked
    bench.engine.close()
    left, right = bench.adapter("left"), bench.adapter("right", rank=3)
    for way in (False, kernel):
        base = load_base(bench.base_folder, device=device, dtype="float32")
        engine = LocalEngine(base, kernel=way)
        assert (engine._batch._lane.kernel is None) == (way is False)
        wanted = [bench.compose((left, 1.0)), bench.compose((left, 0.5), (right, -0.5)), bench.compose()]
        try:
            tokens.append([engine.generate(one, ask("hello", tokens=4)).token_ids for one in wanted])
        finally:
            engine.close()
    assert tokens[0] == tokens[1]
    assert len(set(map(tuple, tokens[0]))) == 3  # the adapters do change what is said


def run_in_interpreter():
    """Every check of the Triton kernels, each named once it has passed. Called in a process of its own."""
    from core.engine.kernels.grouped_lora import TRITON_LORA

    assert kernels.open_kernel(CPU, torch.float32) is TRITON_LORA
    assert kernels.choose_kernel(True, CPU, torch.float32) is None  # a CPU never takes it by itself
    print("opened")
    check_shapes(TRITON_LORA)
    print("shapes")
    check_rows_apart(TRITON_LORA)
    print("rows apart")
    check_layers(TRITON_LORA)
    print("layers")
    with TemporaryDirectory() as folder:
        check_engine(TRITON_LORA, Path(folder) / "bench")
    print("engine")


def run_apart(code, **environment):
    """A process that has the project in its path."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def interpreted():
    """What passed in Triton's interpreter; the variable is read when Triton is imported."""
    code = "from tests.core.engine.test_grouped_lora_kernel import run_in_interpreter as run; run()"
    answer = run_apart(code, TRITON_INTERPRET="1")
    return answer.stdout.splitlines(), answer.stderr


@pytest.mark.slow
@pytest.mark.parametrize("check", ["opened", "shapes", "rows apart", "layers", "engine"])
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed: it is optional")
def test_the_triton_kernels_in_the_interpreter_give_what_torch_gives(check, interpreted):
    passed, errors = interpreted
    assert check in passed, errors[-3000:]


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from core.engine.kernels import grouped_lora as made

for kind, arch in (("fp32", 80), ("fp16", 80), ("bf16", 90)):
    step = {"fp32": 64}.get(kind, 128)
    pointers = {"x": kind, "slab": kind, "out": kind, "scale": kind, "low": "fp32", "lines": "i64", "rows": "i64",
                "covered": "i64", "starts": "i32", "order": "i32"}
    tiles = {"scaled": True, "widen": False, "token_tile": 64, "column_tile": 64, "step": step, "rank_tile": 16,
             "output_tile": 128}
    for kernel in (made._shrink_kernel, made._expand_kernel):
        names = kernel.arg_names
        kinds = {n: f"*{pointers[n]}" if n in pointers else "constexpr" if n in tiles else "i32" for n in names}
        fixed = {(names.index(name),): value for name, value in tiles.items() if name in names}
        built = triton.compile(ASTSource(kernel, kinds, fixed), target=GPUTarget("cuda", arch, 32))
        print(len(built.asm["cubin"]) > 1000 and built.metadata.shared)
"""


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed: it is optional")
def test_the_triton_kernels_compile_for_ampere_and_hopper_without_a_gpu(tmp_path):
    answer = run_apart(COMPILE, TRITON_CACHE_DIR=str(tmp_path))
    assert answer.returncode == 0, answer.stderr[-3000:]
    shared = [int(line) for line in answer.stdout.split()]
    assert len(shared) == 6
    assert 0 < max(shared) <= 99 * 1024  # what one block may have on the smallest of these GPUs


def test_torch_gives_the_float64_sum_of_every_row_for_any_shape_rank_weight_and_stride():
    check_shapes(TORCH_LORA, seeds=range(60))


def test_nan_in_one_row_stays_there_in_torch():
    check_rows_apart(TORCH_LORA)


def test_a_plan_for_a_kernel_adds_what_the_plan_of_runs_adds():
    check_layers(TORCH_LORA)


def test_the_engine_with_a_kernel_says_what_it_says_without(tmp_path):
    check_engine(TORCH_LORA, tmp_path / "bench")


def test_importing_the_engine_imports_no_triton():
    answer = run_apart("import sys, core.engine.kernels, core.engine.lora; print('triton' in sys.modules)")
    assert answer.stdout.split() == ["False"], answer.stderr


def test_a_kernel_that_fails_or_is_wrong_is_not_used_and_the_log_says_so(monkeypatch, caplog):
    def fails(*_):
        raise RuntimeError("no compiler")

    def wrong(low, places, offset, column, rank, out):
        TORCH_LORA.expand_add(low, places, offset, column, rank, out)
        out[0, 0, 0] += 1.0

    monkeypatch.setattr(kernels, "available", lambda device: True)
    for made, told in (
        (GroupedLora(fails, fails), "no compiler"),
        (GroupedLora(TORCH_LORA.shrink, wrong), "is off by"),
    ):
        caplog.clear()
        module = type(sys)("core.engine.kernels.grouped_lora")
        module.TRITON_LORA = made
        monkeypatch.setitem(sys.modules, "core.engine.kernels.grouped_lora", module)
        with caplog.at_level(logging.WARNING):
            assert kernels.open_kernel(CPU, torch.float32) is None
        assert told in caplog.text
    module.TRITON_LORA = TORCH_LORA
    assert kernels.open_kernel(CPU, torch.float32) is TORCH_LORA
    assert kernels.open_kernel(CPU, torch.float64) is None


def test_a_kernel_is_chosen_on_a_gpu_only_and_can_be_turned_off(monkeypatch):
    monkeypatch.setattr(kernels, "open_kernel", lambda device, dtype: TORCH_LORA)
    gpu = torch.device("cuda")
    assert kernels.choose_kernel(True, gpu, torch.bfloat16) is TORCH_LORA
    assert kernels.choose_kernel(False, gpu, torch.bfloat16) is None
    assert kernels.choose_kernel(True, CPU, torch.float32) is None


@on_gpu
def test_on_a_gpu_the_kernels_give_what_torch_gives():
    torch.backends.cuda.matmul.allow_tf32 = False
    kernel = kernels.open_kernel(torch.device("cuda"), torch.float32)
    assert kernel is not None
    for check in (check_shapes, check_rows_apart, check_layers):
        check(kernel, torch.device("cuda"))


@on_gpu
def test_on_a_gpu_the_engine_with_the_kernel_says_what_it_says_without(tmp_path):
    torch.backends.cuda.matmul.allow_tf32 = False
    check_engine(True, tmp_path / "bench", "cuda")
