"""Every reason to refuse an adapter, each on real files."""

import json
import re
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.engine.adapter_files import read_adapter
from core.engine.records import AdapterRef
from core.errors import IntegrityError, RefusedFileError
from core.storage.digests import digest_adapter_folder


@pytest.fixture
def read(kernel_bench):
    def read(ref):
        return read_adapter(ref, kernel_bench.kernel.sites, kernel_bench.base.digest)

    return read


@pytest.fixture
def make(kernel_bench, tmp_path):
    """An adapter with changes to its config, its tensors or its files; the digest is that of the changed files."""

    def make(*, config=None, edit=None, files=None, **options):
        ref = kernel_bench.adapter(
            f"{tmp_path.name}-{len(list(kernel_bench.folder.iterdir()))}", config=config, edit=edit, **options
        )
        for name, data in (files or {}).items():
            (ref.path / name).write_bytes(data)
        return AdapterRef(digest_adapter_folder(ref.path), ref.path)

    return make


def test_a_good_adapter_is_read_with_its_scale_in_b(read, make, kernel_bench):
    ref = make(rank=4, alpha=10.0)
    weights = read(ref)
    site = kernel_bench.kernel.sites[0]
    tensors = load_file(ref.path / "adapter_model.safetensors")
    prefix = f"base_model.model.{site.name}"
    assert torch.equal(weights.a[0], tensors[f"{prefix}.lora_A.weight"])
    assert torch.equal(weights.b[0], tensors[f"{prefix}.lora_B.weight"] * 2.5)
    assert weights.ranks[:-1] == (4,) * (len(kernel_bench.kernel.sites) - 1)
    assert weights.ranks[-1] == 0  # the output head, which this adapter leaves alone


def test_a_bfloat16_adapter_is_read_as_float32(read, make):
    def shrink(tensors):
        for name in tensors:
            tensors[name] = tensors[name].bfloat16()

    assert all(tensor.dtype == torch.float32 for tensor in read(make(edit=shrink)).b.values())


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"peft_type": "IA3"}, "not a LoRA"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"arrow_config": {"top_k": 2}}, "arrow_config"),
        ({"something_new": 1}, "something_new"),
        ({"r": 5}, "the base needs"),
        ({"r": "4"}, "rank"),
        ({"r": 0}, "rank"),
        ({"lora_alpha": None}, "alpha"),
        ({"lora_alpha": float("nan")}, "alpha"),
        ({"rank_pattern": {"q_proj": 2}}, "the base needs"),
        ({"rank_pattern": ["q_proj"]}, "not a table"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "not supported"),
        ({"alpha_pattern": {"(": 1}}, "not supported"),
    ],
    ids=str,
)
def test_what_is_not_a_plain_lora_is_refused_with_the_reason(read, make, config, reason):
    with pytest.raises(RefusedFileError, match=reason):
        read(make(config=config))


def with_tensor(change):
    def edit(tensors):
        name = next(n for n in tensors if n.endswith("layers.0.self_attn.q_proj.lora_A.weight"))
        change(tensors, name)

    return edit


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t, n: t[n].fill_(float("nan")), "not numbers"),
        (lambda t, n: t[n].view(-1)[0].fill_(float("inf")), "not numbers"),
        (lambda t, n: t.pop(n), "pair up"),
        (lambda t, n: t.update({n.replace("q_proj", "x_proj"): t.pop(n)}), "no layer"),
        (lambda t, n: t.update({n.replace("lora_A.weight", "lora_A.bias"): torch.zeros(3)}), "no layer"),
        (lambda t, n: t.update({n: t[n][:, :-1].contiguous()}), "the base needs"),
        (lambda t, n: t.update({n: t[n].T.contiguous()}), "the base needs"),
        (lambda t, n: t.update({n: t[n].to(torch.int32)}), "type I32"),
        (lambda t, n: t.update({n: t[n].unsqueeze(0)}), re.escape("(1, 4, 32)")),
        (lambda t, n: t.update({n: t[n].double()}), "type F64"),
        (lambda t, n: t.clear(), "0 tensors"),
        (lambda t, n: t.update({n: t[n] * 1e38 * 10}), "not numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_the_reason(read, make, change, reason):
    with pytest.raises(RefusedFileError, match=reason):
        read(make(edit=with_tensor(change)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04K\x01.",
        struct.pack("<Q", 1 << 40),
        struct.pack("<Q", 2) + b"{}x",
        b"PK\x03\x04" + b"0" * 64,
    ],
    ids=["empty", "pickle", "endless header", "trailing bytes", "zip"],
)
def test_a_file_that_is_not_safetensors_is_refused(read, make, data):
    with pytest.raises(RefusedFileError):
        read(make(files={"adapter_model.safetensors": data}))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff\xfe", b'{"peft_type": "LORA", '])
def test_a_config_that_is_not_an_object_is_refused(read, make, data):
    with pytest.raises(RefusedFileError):
        read(make(files={"adapter_config.json": data}))


def test_a_half_written_file_is_refused(read, make):
    ref = make()
    whole = (ref.path / "adapter_model.safetensors").read_bytes()
    (ref.path / "adapter_model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RefusedFileError):
        read(AdapterRef(digest_adapter_folder(ref.path), ref.path))


def test_one_flipped_bit_is_an_integrity_error(read, make):
    ref = make()
    path = ref.path / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="digest"):
        read(ref)


def test_a_missing_file_is_an_integrity_error(read, make):
    ref = make()
    (ref.path / "adapter_model.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"adapter_model\.safetensors"):
        read(ref)


def test_a_manifest_that_names_another_base_is_refused(read, make):
    with pytest.raises(RefusedFileError, match="trained for base"):
        read(make(files={"manifest.json": json.dumps({"base_digest": "0" * 64}).encode()}))
    with pytest.raises(RefusedFileError, match=r"manifest\.json"):
        read(make(files={"manifest.json": b"["}))


def test_a_manifest_of_this_base_is_fine(read, make, kernel_bench):
    manifest = json.dumps({"base_digest": kernel_bench.base.digest}).encode()
    assert read(make(files={"manifest.json": manifest})).ranks[0] == 4


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_that_peft_saved_is_read(read, kernel_bench, tmp_path):
    import peft
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(kernel_bench.base_folder)
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "saved")
    weights = read(AdapterRef(digest_adapter_folder(tmp_path / "saved"), tmp_path / "saved"))
    assert set(weights.ranks[:-1]) == {3}


def test_a_file_with_two_tensors_over_the_same_bytes_is_refused(read, make, tmp_path):
    save_file({"a": torch.zeros(4)}, tmp_path / "one.safetensors")
    header = json.dumps({n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in "ab"}).encode()
    data = struct.pack("<Q", len(header)) + header + b"\0" * 16
    with pytest.raises(RefusedFileError):
        read(make(files={"adapter_model.safetensors": data}))
