"""Faults that were measured in PEFT, one by one: each is shown there first, then its absence here.

Where the installed PEFT no longer has a fault, its test says so by asserting the right behaviour.
"""

import shutil
import threading

import peft
import pytest
import torch
import transformers
from peft.utils.hotswap import hotswap_adapter
from safetensors.torch import load_file, save_file

from core.engine.records import AdapterRef, Composition, TokenGate, WeightedAdapter
from core.errors import IntegrityError, RefusedFileError, UnavailableError
from core.storage.digests import digest_adapter_folder

# PEFT 0.21 asks transformers 5 for a property that has a new name, and warns, but loads, where keys are missing.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Found missing adapter keys:UserWarning"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning"),
]


def peft_model(kernel_bench, **refs):
    """The base in PEFT with adapters under these names."""
    model = transformers.AutoModelForCausalLM.from_pretrained(kernel_bench.base_folder)
    (first, ref), *others = refs.items()
    model = peft.PeftModel.from_pretrained(model, ref.path, adapter_name=first)
    for name, other in others:
        model.load_adapter(other.path, adapter_name=name)
    return model.eval()


def answers(model, ids):
    with torch.inference_mode():
        return model(input_ids=ids).logits


def ours(kernel_bench, *terms, ids):
    return kernel_bench.kernel.logits([kernel_bench.compose(*terms)], ids)


def differ(left, right):
    return float((left - right).abs().max() / right.abs().max())


@pytest.fixture(scope="module")
def refs(kernel_bench):
    return [kernel_bench.adapter(f"fault{n}") for n in range(3)]


@pytest.fixture(scope="module")
def ids(kernel_bench):
    return kernel_bench.ids(1)


def changed(ref, folder, change):
    """A copy of an adapter whose tensors were changed, under the digest of the changed files."""
    shutil.copytree(ref.path, folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    return AdapterRef(digest_adapter_folder(folder), folder)


def test_recomposing_under_a_name_that_exists_keeps_the_old_mixture_in_peft_and_not_here(
    kernel_bench, refs, ids
):
    model = peft_model(kernel_bench, first=refs[0], second=refs[1])
    model.add_weighted_adapter(["first", "second"], [0.9, 0.1], "mix", combination_type="cat")
    model.set_adapter("mix")
    before = answers(model, ids)
    model.add_weighted_adapter(["first", "second"], [0.1, 0.9], "mix", combination_type="cat")  # no error
    model.set_adapter("mix")
    assert torch.equal(answers(model, ids), before), "PEFT answers with the old weights"

    old = ours(kernel_bench, (refs[0], 0.9), (refs[1], 0.1), ids=ids)
    new = ours(kernel_bench, (refs[0], 0.1), (refs[1], 0.9), ids=ids)
    assert differ(old, before) < 1e-5
    assert differ(new, old) > 1e-2


def test_rslora_composes_to_a_wrong_answer_in_peft_and_to_the_right_one_here(kernel_bench, ids, tmp_path):
    ref = kernel_bench.adapter(f"{tmp_path.name}-rslora", rank=4, alpha=2.0, config={"use_rslora": True})
    model = peft_model(kernel_bench, first=ref)
    right = answers(model, ids)
    model.add_weighted_adapter(["first"], [1.0], "mix", combination_type="cat")  # no error
    model.set_adapter("mix")
    assert differ(answers(model, ids), right) > 1e-2, "PEFT scales by r/√r where it should by 1"
    assert differ(ours(kernel_bench, (ref, 0.4), (ref, 0.6), ids=ids), right) < 1e-5


def test_dora_composes_to_a_wrong_answer_in_peft_and_is_refused_here(kernel_bench, ids, tmp_path):
    model = transformers.AutoModelForCausalLM.from_pretrained(kernel_bench.base_folder)
    config = peft.LoraConfig(
        r=2, lora_alpha=4, target_modules=["q_proj"], use_dora=True, init_lora_weights=False
    )
    model = peft.get_peft_model(model, config, adapter_name="first").eval()
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data *= 1.5  # as training does
    right = answers(model, ids)
    model.save_pretrained(tmp_path / "saved")
    model.add_weighted_adapter(["first"], [1.0], "mix", combination_type="cat")  # no error
    model.set_adapter("mix")
    assert differ(answers(model, ids), right) > 1e-3

    folder = tmp_path / "saved" / "first"
    with pytest.raises(RefusedFileError, match="use_dora"):
        ours(kernel_bench, (AdapterRef(digest_adapter_folder(folder), folder), 1.0), ids=ids)


def test_hot_swapping_amazon_wipes_amazon_v2_in_peft_and_touches_nothing_here(kernel_bench, refs, ids):
    model = peft_model(kernel_bench, amazon=refs[0], amazon_v2=refs[1])
    model.set_adapter("amazon_v2")
    before = answers(model, ids)
    hotswap_adapter(model, str(refs[2].path), adapter_name="amazon")
    after = answers(model, ids)
    base = transformers.AutoModelForCausalLM.from_pretrained(kernel_bench.base_folder)
    assert differ(before, answers(base, ids)) > 1e-2
    assert differ(after, answers(base, ids)) < 1e-6, (
        "amazon_v2 is all zeros now: PEFT matched a part of the name"
    )

    bank = kernel_bench.kernel.bank
    untouched = ours(kernel_bench, (refs[1], 1.0), ids=ids)
    swapped_out = bank.lease(kernel_bench.compose((refs[0], 1.0)))
    bank.unload(refs[0].digest)
    swapped_in = bank.lease(kernel_bench.compose((refs[2], 1.0)))
    swapped_out.release()
    assert torch.equal(ours(kernel_bench, (refs[1], 1.0), ids=ids), untouched)
    swapped_in.release()
    assert torch.equal(ours(kernel_bench, (refs[1], 1.0), ids=ids), untouched)


def test_two_who_set_the_active_adapter_get_each_others_answers_in_peft_and_their_own_here(
    kernel_bench, refs, ids
):
    model = peft_model(kernel_bench, first=refs[0], second=refs[1])
    right = {}
    for name in ("first", "second"):
        model.set_adapter(name)
        right[name] = answers(model, ids)
    both_set = threading.Barrier(2)
    got = {}

    def ask(name):
        model.set_adapter(name)
        both_set.wait()
        got[name] = answers(model, ids)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(differ(got[name], right[name]) > 1e-2 for name in ("first", "second")) >= 1, (
        "one got the other's"
    )

    rows = kernel_bench.kernel.logits(
        [kernel_bench.compose((refs[0], 1.0)), kernel_bench.compose((refs[1], 1.0))], ids.repeat(2, 1)
    )
    assert differ(rows[:1], right["first"]) < 1e-5
    assert differ(rows[1:], right["second"]) < 1e-5


def test_a_request_that_fails_leaves_its_adapter_on_in_peft_and_not_here(kernel_bench, bench, refs, ids):
    def break_down(*_):
        raise RuntimeError("out of luck")

    model = peft_model(kernel_bench, first=refs[0], second=refs[1])
    model.set_adapter("first")
    right = answers(model, ids)
    handle = model.get_submodule("base_model.model.lm_head").register_forward_hook(break_down)
    with pytest.raises(RuntimeError, match="out of luck"), torch.inference_mode():
        model(input_ids=ids, adapter_names=["second"])
    handle.remove()
    assert differ(answers(model, ids), right) > 1e-2, (
        "the next request is answered with the failed one's adapter"
    )

    mine, other = bench.adapter("failing"), bench.compose()
    before = bench.answer(other, tokens=6)
    bench.engine.prepare(bench.compose((mine, 1.0)))
    handle = bench.base.model.get_submodule("lm_head").register_forward_hook(break_down)
    with pytest.raises(UnavailableError, match="out of luck"):
        bench.answer(bench.compose((mine, 1.0)), tokens=6)
    handle.remove()
    assert bench.answer(other, tokens=6).token_ids == before.token_ids
    assert bench.answer(bench.compose((mine, 1.0)), tokens=6).token_ids != before.token_ids


def to_nan(tensors):
    next(iter(tensors.values())).view(-1)[0] = float("nan")


def flip_a_bit(tensors):
    bits = tensors[min(tensors)].view(torch.int32).view(-1)
    bits[0] ^= 1 << 30


def lose_half(tensors):
    for name in [name for name in tensors if ".layers.1." in name]:
        del tensors[name]


def rename(tensors):
    for name in list(tensors):
        tensors[name.replace("base_model.model.model.", "base_model.model.transformer.")] = tensors.pop(name)


@pytest.mark.parametrize("damage", [to_nan, flip_a_bit, lose_half, rename])
def test_a_damaged_file_loads_and_serves_in_peft_and_is_refused_here(
    kernel_bench, refs, ids, tmp_path, damage
):
    right = answers(peft_model(kernel_bench, first=refs[0]), ids)
    damaged = changed(refs[0], tmp_path / "damaged", damage)
    found = answers(peft_model(kernel_bench, first=damaged), ids)  # no error
    assert not differ(found, right) < 1e-3, "it answers, and wrongly"

    kernel_bench.kernel.bank.unload(refs[0].digest)
    before = kernel_bench.kernel.bank.resident()
    with pytest.raises(IntegrityError, match="digest"):  # against what was registered
        ours(kernel_bench, (AdapterRef(refs[0].digest, damaged.path), 1.0), ids=ids)
    if damage is not flip_a_bit:  # a flipped bit is a number like others: only the digest can tell
        with pytest.raises(RefusedFileError):
            ours(kernel_bench, (damaged, 1.0), ids=ids)
    assert kernel_bench.kernel.bank.resident() == before
    assert differ(ours(kernel_bench, (refs[0], 1.0), ids=ids), right) < 1e-5


def test_a_load_that_fails_stays_registered_in_peft_and_leaves_nothing_here(
    kernel_bench, refs, ids, tmp_path
):
    shutil.copytree(refs[1].path, tmp_path / "bad")
    weights = tmp_path / "bad" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    model = peft_model(kernel_bench, first=refs[0])
    with pytest.raises(Exception, match=r"(?i)header|incomplete|buffer|deserializ"):
        model.load_adapter(tmp_path / "bad", adapter_name="bad")
    assert "bad" in model.peft_config, "it can be set and serves without having been read"

    bank = kernel_bench.kernel.bank
    before = bank.resident()
    bad = AdapterRef(digest_adapter_folder(tmp_path / "bad"), tmp_path / "bad")
    with pytest.raises(RefusedFileError):
        bank.lease(kernel_bench.compose((bad, 1.0)))
    assert bank.resident() == before
    assert not bank.unload(bad.digest)


def test_unloading_frees_in_peft_by_now_and_here(kernel_bench, refs):
    model = peft_model(kernel_bench, first=refs[0])
    bytes_before = sum(p.numel() for p in model.parameters())
    model.load_adapter(refs[1].path, adapter_name="second")
    model.delete_adapter("second")
    assert sum(p.numel() for p in model.parameters()) == bytes_before, "no longer a fault of PEFT"

    bank = kernel_bench.kernel.bank
    ref = kernel_bench.adapter("fault-unloaded")
    before = bank.resident()
    lease = bank.lease(kernel_bench.compose((ref, 1.0)))
    assert bank.unload(ref.digest)
    assert bank.resident()[1] > before[1], "pinned"
    lease.release()
    assert bank.resident() == before


def test_a_token_gate_needs_equal_ranks_and_layers_in_peft_and_not_here(kernel_bench, refs, tmp_path):
    small = kernel_bench.adapter(f"{tmp_path.name}-small", rank=2)
    model = transformers.AutoModelForCausalLM.from_pretrained(kernel_bench.base_folder)
    with pytest.raises(ValueError, match="rank mismatch"):
        peft.create_arrow_model(model, [str(refs[0].path), str(small.path)], peft.ArrowConfig(top_k=1))
    terms = tuple(WeightedAdapter(ref, 1.0) for ref in (refs[0], small))
    lease = kernel_bench.kernel.bank.lease(
        Composition(kernel_bench.base.digest, terms, "gated", TokenGate(top_k=1))
    )
    assert lease.gate.size == 2
    lease.release()
