"""Additive composition is exact: tests 1 to 7, 10, 14 and 16 that an expert asks for, on a tiny random model. Test 11 is in
test_gates.py, 17 in test_mixed_linear.py and test_gates_random.py."""

import json
import math
import re
from concurrent.futures import ThreadPoolExecutor

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from core.engine.lora import MixedLinear
from core.engine.plan import plan_batch
from core.storage.digests import digest_base_folder

# PEFT 0.21 asks transformers 5 for a property that has a new name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

LAYERS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def scale_of(config, name, rank):
    alpha = next(
        (v for k, v in config.get("alpha_pattern", {}).items() if re.match(rf"(.*\.)?({k})$", name)),
        config["lora_alpha"],
    )
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def dense_logits(kernel_bench, composition, ids):
    """The oracle: every delta added to the weights in float64, then a plain forward pass in float64."""
    model = transformers.AutoModelForCausalLM.from_pretrained(kernel_bench.base_folder, dtype=torch.float64)
    for term in composition.terms:
        config = json.loads((term.adapter.path / "adapter_config.json").read_text())
        tensors = load_file(term.adapter.path / "adapter_model.safetensors")
        for key in (k for k in tensors if k.endswith("lora_A.weight")):
            name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            a, b = tensors[key].double(), tensors[key.replace("lora_A", "lora_B")].double()
            model.get_submodule(name).weight.data += (
                term.weight * scale_of(config, name, a.shape[0]) * (b @ a)
            )
    with torch.inference_mode():
        return model(input_ids=ids).logits


def relative_error(found, right):
    return float((found.double() - right.double()).abs().max() / right.double().abs().max())


@pytest.fixture(scope="module")
def adapters(kernel_bench):
    by_layer = {"q_proj": 2, "down_proj": 6}
    by_path = {"model.layers.1.mlp.up_proj": 24.0, r"layers\.0\..*k_proj": 2.0}
    return {
        "all": kernel_bench.adapter("all"),
        "low": kernel_bench.adapter("low", rank=1, alpha=3.0),
        "attention": kernel_bench.adapter("attention", only={"q_proj", "v_proj"}, rank=8),
        "patterns": kernel_bench.adapter(
            "patterns",
            ranks=lambda name: by_layer.get(name.rpartition(".")[2], 4),
            config={"rank_pattern": by_layer, "alpha_pattern": by_path},
        ),
        "rslora": kernel_bench.adapter("rslora", rank=5, config={"use_rslora": True}),
    }


def test_the_base_has_grouped_queries_a_tied_head_and_all_seven_layers(kernel_bench):
    assert {name.rpartition(".")[2] for name in kernel_bench.shapes} == LAYERS
    assert kernel_bench.base.config.tie_word_embeddings
    assert kernel_bench.base.config.num_key_value_heads < kernel_bench.base.config.num_attention_heads


@pytest.mark.parametrize(
    "terms",
    [
        [("all", 1.0)],
        [("low", 1.0)],
        [("attention", 1.0)],
        [("patterns", 1.0)],
        [("rslora", 1.0)],
        [("all", 0.7), ("low", -1.3)],
        [("all", 0.5), ("patterns", 0.25), ("rslora", -0.5), ("attention", 0.0)],
        [("all", 0.2), ("low", 0.2), ("attention", 0.2), ("patterns", 0.2), ("rslora", 0.2)],
    ],
    ids=lambda terms: "+".join(f"{w}·{n}" for n, w in terms),
)
def test_1_a_composition_equals_the_dense_merge_in_float64(kernel_bench, adapters, terms):
    composition = kernel_bench.compose(*[(adapters[name], weight) for name, weight in terms])
    ids = kernel_bench.ids(2)
    right = dense_logits(kernel_bench, composition, ids)
    assert relative_error(kernel_bench.kernel.logits([composition] * 2, ids), right) <= 1e-5
    base = kernel_bench.kernel.logits([kernel_bench.compose()] * 2, ids)
    assert relative_error(base, right) > 1e-2, "the adapters must matter, or the test proves nothing"


@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_1_each_kind_of_layer_alone_equals_the_dense_merge(kernel_bench, layer):
    ref = kernel_bench.adapter(f"only-{layer}", only={layer})
    composition, ids = kernel_bench.compose((ref, -1.5)), kernel_bench.ids(2)
    right = dense_logits(kernel_bench, composition, ids)
    assert relative_error(kernel_bench.kernel.logits([composition] * 2, ids), right) <= 1e-5
    assert relative_error(kernel_bench.kernel.logits([kernel_bench.compose()] * 2, ids), right) > 1e-3


@pytest.mark.parametrize("name", ["all", "attention", "patterns", "rslora"])
def test_2_one_adapter_with_weight_1_is_that_adapter_as_peft_computes_it(kernel_bench, adapters, name):
    ids = kernel_bench.ids(2)
    model = transformers.AutoModelForCausalLM.from_pretrained(kernel_bench.base_folder)
    model = peft.PeftModel.from_pretrained(model, adapters[name].path).eval()
    with torch.inference_mode():
        right = model(input_ids=ids).logits
    found = kernel_bench.kernel.logits([kernel_bench.compose((adapters[name], 1.0))] * 2, ids)
    assert relative_error(found, right) <= 1e-5
    assert torch.equal(found.argmax(-1), right.argmax(-1))


def test_3_weight_0_and_an_empty_composition_are_the_base_bit_by_bit(kernel_bench, adapters):
    ids = kernel_bench.ids(3)
    untouched = transformers.AutoModelForCausalLM.from_pretrained(kernel_bench.base_folder)
    with torch.inference_mode():
        right = untouched(input_ids=ids).logits
    zero = kernel_bench.compose((adapters["all"], 0.0))
    cancelled = kernel_bench.compose((adapters["all"], 1.0), (adapters["all"], -1.0))
    other = kernel_bench.compose((adapters["all"], 1.0))
    assert torch.equal(kernel_bench.kernel.logits([kernel_bench.compose(), zero, cancelled], ids), right)
    mixed = kernel_bench.kernel.logits([zero, other, kernel_bench.compose()], ids)
    assert torch.equal(mixed[[0, 2]], right[[0, 2]])
    assert not torch.equal(mixed[1], right[1])


def test_4_a_composition_is_linear_in_its_weights(kernel_bench, adapters):
    ids = kernel_bench.ids(1)
    doubled = kernel_bench.adapter("all-doubled", seed=77, alpha=16.0)
    plain = kernel_bench.adapter("all-plain", seed=77, alpha=8.0)
    by_weight = kernel_bench.kernel.logits([kernel_bench.compose((plain, 2.0))], ids)
    by_alpha = kernel_bench.kernel.logits([kernel_bench.compose((doubled, 1.0))], ids)
    assert relative_error(by_weight, by_alpha) <= 1e-6

    # The whole model is not linear; one of its layers is.
    layer = kernel_bench.base.model.get_submodule("model.layers.0.mlp.up_proj")
    x = torch.randn(1, 3, layer.base.in_features, generator=torch.Generator().manual_seed(1))

    def added(weight):
        lease = kernel_bench.kernel.bank.lease(kernel_bench.compose((plain, weight)))
        lane = kernel_bench.kernel.lane

        lane.plan = plan_batch([lease.terms], dtype=torch.float32, device=torch.device("cpu"))
        with torch.inference_mode():
            out = layer(x) - layer.base(x)
        lane.plan = None
        lease.release()
        return out

    assert torch.allclose(added(0.75), 3 * added(0.25), atol=1e-5)
    assert torch.allclose(added(-1.0), -added(1.0), atol=1e-5)


def test_5_order_and_splits_do_not_matter_and_duplicates_add(kernel_bench, adapters):
    ids = kernel_bench.ids(4)
    a, b, c = adapters["all"], adapters["low"], adapters["rslora"]
    compositions = [
        kernel_bench.compose((a, 0.6), (b, -0.4), (c, 0.5)),
        kernel_bench.compose((c, 0.5), (a, 0.6), (b, -0.4)),
        kernel_bench.compose((a, 0.25), (b, -0.4), (c, 0.5), (a, 0.35)),
    ]
    rows = [kernel_bench.kernel.logits([composition] * 4, ids) for composition in compositions]
    assert relative_error(rows[1], rows[0]) <= 1e-6
    assert relative_error(rows[2], rows[0]) <= 1e-6
    assert compositions[0].key == compositions[1].key == compositions[2].key


def test_6_a_row_alone_is_the_row_in_any_mixed_batch(kernel_bench, adapters):
    ids = kernel_bench.ids(8)
    names = list(adapters)
    compositions = [
        kernel_bench.compose(),
        *[kernel_bench.compose((adapters[name], 1.0)) for name in names],
        kernel_bench.compose((adapters["all"], 0.5), (adapters["low"], 0.5)),
        kernel_bench.compose((adapters["all"], 1.0)),
    ]
    together = kernel_bench.kernel.logits(compositions, ids)
    for row, composition in enumerate(compositions):
        alone = kernel_bench.kernel.logits([composition], ids[row : row + 1])[0]
        assert relative_error(together[row], alone) <= 1e-6
    shuffled = torch.tensor([5, 2, 7, 0, 3, 6, 1, 4])
    again = kernel_bench.kernel.logits([compositions[i] for i in shuffled], ids[shuffled])
    assert relative_error(again, together[shuffled]) <= 1e-6


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_6_a_neighbour_whose_adapter_is_not_a_number_changes_nothing(kernel_bench, adapters, poison):
    bad = kernel_bench.adapter(f"bad-{poison}")
    ids = kernel_bench.ids(5)
    kernel = kernel_bench.kernel

    def batch(neighbour):
        return [
            kernel_bench.compose((adapters["all"], 1.0)),
            neighbour,
            kernel_bench.compose(),
            kernel_bench.compose((adapters["all"], 0.5), (adapters["low"], 2.0)),
            kernel_bench.compose((adapters["rslora"], 1.0)),
        ]

    good_neighbour = kernel.logits(batch(kernel_bench.compose((bad, 1.0))), ids)
    lease = kernel.bank.lease(kernel_bench.compose((bad, 1.0)))
    term = lease.terms[0]
    term.pool.view(term.line, 1).b[0].fill_(poison)  # such a file is refused; memory can still be damaged
    for matrix in term.pool.view(term.line, 1).a.values():
        matrix.fill_(poison)
    bad_neighbour = kernel.logits(batch(kernel_bench.compose((bad, 1.0))), ids)
    lease.release()
    kernel.bank.unload(bad.digest)
    others = [0, 2, 3, 4]
    assert not torch.isfinite(bad_neighbour[1]).all()
    assert torch.equal(bad_neighbour[others], good_neighbour[others])


def test_7_a_mixed_batch_gives_the_tokens_of_single_runs(bench):
    adapters = [bench.adapter(f"seven{n}", rank=(2, 4)[n % 2]) for n in range(6)]
    compositions = [
        bench.compose(),
        *[bench.compose((adapter, 1.0)) for adapter in adapters],
        bench.compose((adapters[0], 0.5), (adapters[1], 0.5)),
    ]
    prompts = [f"{'y' * (4 * n)} row {n}" for n in range(len(compositions))]
    alone = [bench.answer(c, p, tokens=24).token_ids for c, p in zip(compositions, prompts, strict=True)]
    with ThreadPoolExecutor(len(compositions)) as threads:
        together = list(
            threads.map(lambda cp: bench.answer(*cp, tokens=24), zip(compositions, prompts, strict=True))
        )
    assert [answer.token_ids for answer in together] == alone
    assert len(set(alone)) == len(compositions)


def test_7_an_adapter_alone_gives_the_tokens_that_peft_generates(bench):
    for number, rank in enumerate((2, 4)):
        ref = bench.adapter(f"oracle{number}", rank=rank)
        model = transformers.AutoModelForCausalLM.from_pretrained(bench.base_folder)
        model = peft.PeftModel.from_pretrained(model, ref.path).eval()
        ids = bench.base.tokenizer.apply_chat_template(
            [{"role": "user", "content": "hello"}], add_generation_prompt=True, return_dict=False
        )
        inputs = torch.tensor([ids])
        with torch.inference_mode():
            out = model.generate(
                input_ids=inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=24, do_sample=False
            )
        found = bench.answer(bench.compose((ref, 1.0)), tokens=24)
        assert found.token_ids == tuple(out[0, len(ids) :].tolist())


def test_14_the_same_prompt_under_another_composition_sees_nothing_of_the_first(bench):
    first, second = (bench.compose((bench.adapter(f"stale{n}"), 1.0)) for n in range(2))
    cold = bench.answer(second, "the same prompt", tokens=24)
    bench.answer(first, "the same prompt", tokens=24)
    assert bench.answer(second, "the same prompt", tokens=24).token_ids == cold.token_ids


def test_10_the_base_on_disk_and_in_memory_is_what_it_was_after_all_this(kernel_bench, adapters):
    ids = kernel_bench.ids(1)
    before = {name: tensor.clone() for name, tensor in kernel_bench.base.model.state_dict().items()}
    kernel_bench.kernel.logits([kernel_bench.compose((adapters["all"], 3.0))], ids)
    after = kernel_bench.base.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert digest_base_folder(kernel_bench.base_folder) == kernel_bench.base.digest


@pytest.mark.parametrize("bits", [8, 4])
def test_16_over_a_quantized_layer_the_adapters_add_no_error_of_their_own(kernel_bench, adapters, bits):
    """What comes out is the quantized layer plus the exact delta, to 1e-5 of the delta. The layer's own error is at most
    half a step of its scale per weight, times Σ|x|: a 255th of a row's largest weight at 8 bits, and at 4 bits (NF4)
    the widest gap of the table, 0.304, of a block's largest."""
    lane, sites = kernel_bench.kernel.lane, kernel_bench.kernel.sites
    site = next(site for site in sites if site.name.endswith("layers.0.mlp.up_proj"))
    weight = kernel_bench.base.model.get_submodule(site.name).base.weight.detach()
    step = {8: 2 / 254, 4: 0.304}[bits]
    blocks = weight.abs().amax(dim=1, keepdim=True)
    quantized = torch.nn.Linear(site.in_features, site.out_features, bias=False)
    quantized.weight.data = quantize(weight, blocks, bits)
    assert (quantized.weight - weight).abs().max() <= step / 2 * blocks.max() * 1.0001
    x = torch.randn(2, 3, site.in_features, generator=torch.Generator().manual_seed(2))
    leases = [
        kernel_bench.kernel.bank.lease(kernel_bench.compose((adapters[name], weight_of)))
        for name, weight_of in (("all", 0.7), ("low", -1.2))
    ]
    layer = MixedLinear(quantized, site, lane, torch.float32)
    lane.plan = plan_batch([lease.terms for lease in leases], dtype=torch.float32, device=torch.device("cpu"))
    with torch.inference_mode():
        found = layer(x)
    lane.plan = None
    lane.forget()
    for row, lease in enumerate(leases):
        (term,) = lease.terms
        place, view = term.pool.layout.placements[site.index], term.pool.view(term.line, 1)
        a = view.a[site.group][0][:, place.column : place.column + place.rank].double()
        delta = term.weight * (x[row].double() @ a @ view.b[site.index][0].double())
        exact = x[row].double() @ weight.double().T + delta
        with torch.inference_mode():
            over_quantized = quantized(x[row]).double() + delta
        assert float((found[row] - over_quantized).abs().max()) <= 1e-5 * float(over_quantized.abs().max())
        bound = step / 2 * float(blocks.max()) * x[row].double().abs().sum(-1, keepdim=True)
        assert bool(((found[row] - exact).abs() <= bound + 1e-4).all())
        lease.release()


def quantize(weight, blocks, bits):
    """Weights rounded to 8 bits by row, or to the 16 values of NF4, and back (Dettmers et al. 2023, appendix E)."""
    if bits == 8:
        return (weight / blocks * 127).round() / 127 * blocks
    table = torch.tensor([-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
                          0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0])  # fmt: skip
    nearest = ((weight / blocks).unsqueeze(-1) - table).abs().argmin(-1)
    return table[nearest] * blocks
