"""Bases of several architectures, saved to disk and loaded from there; and every reason to refuse one."""

import json
from concurrent.futures import ThreadPoolExecutor

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from core.engine.base import choose_device, choose_dtype, load_base
from core.engine.local import LocalEngine
from core.errors import InsufficientMemoryError, InvalidInputError, RefusedFileError, UnavailableError
from core.storage.digests import digest_base_folder

# PEFT 0.21 asks transformers 5 for a property that has a new name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

ARCHITECTURES = {
    "Llama": {"tie_word_embeddings": True},
    "Mistral": {"sliding_window": 24, "head_dim": 8},
    "Qwen2": {},
    "Qwen3": {"head_dim": 16},
    "Gemma2": {"head_dim": 8, "sliding_window": 24, "query_pre_attn_scalar": 8},
    "Phi3": {},
}


def generate_with_transformers(model, tokenizer, prompt, tokens):
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
    )
    inputs = torch.tensor([ids])
    with torch.inference_mode():
        out = model.generate(
            input_ids=inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=tokens, do_sample=False
        )
    return tuple(out[0, len(ids) :].tolist())


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_an_architecture_answers_as_transformers_and_peft_do_alone_and_in_a_mixed_batch(make_bench, kind):
    bench = make_bench(kind, **ARCHITECTURES[kind])
    ref = bench.adapter("one", rank=4)
    prompts = ["hello", "a longer prompt with more than one window of text in it", "x"]
    plain = transformers.AutoModelForCausalLM.from_pretrained(bench.base_folder)
    right = [generate_with_transformers(plain, bench.base.tokenizer, p, 20) for p in prompts]
    adapted = peft.PeftModel.from_pretrained(plain, ref.path).eval()
    right += [generate_with_transformers(adapted, bench.base.tokenizer, p, 20) for p in prompts]
    jobs = [(bench.compose(), p) for p in prompts] + [(bench.compose((ref, 1.0)), p) for p in prompts]
    assert [bench.answer(*job, tokens=20).token_ids for job in jobs] == right
    with ThreadPoolExecutor(len(jobs)) as threads:
        together = list(threads.map(lambda job: bench.answer(*job, tokens=20).token_ids, jobs))
    assert together == right
    assert right[:3] != right[3:]


def test_a_loaded_base_says_what_it_is(make_base):
    folder = make_base(tie_word_embeddings=True)
    base = load_base(folder)
    weights = sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())
    assert base.digest == digest_base_folder(folder)
    assert (base.name, base.dtype_name, str(base.device)) == (folder.name, "float32", "cpu")
    assert base.context_length == 256
    assert base.end_tokens == {1}
    assert 4 * weights <= base.bytes <= 4 * weights + 4096
    assert base.kv_bytes_per_token == 2 * 2 * 2 * 8 * 4
    assert not base.model.training


@pytest.mark.parametrize(("quantization", "smaller"), [("8bit", 2.0), ("4bit", 3.0)])
def test_a_quantized_base_is_smaller_and_serves_adapters_within_a_bound(
    make_base, make_bench, quantization, smaller
):
    # bitsandbytes packs blocks of 64 weights: a model this small needs layers of at least that width.
    size = {"hidden_size": 128, "intermediate_size": 256, "initializer_range": 0.05, "vocab_size": 261}
    bench = make_bench("Llama", **size)
    base = load_base(bench.base_folder, quantization=quantization)
    assert base.dtype_name == quantization
    linear = sum(4 * a * b for a, b in bench.shapes.values())
    others = bench.base.bytes - linear
    assert base.bytes - others / 2 < linear / smaller
    engine = LocalEngine(base)
    ref = bench.adapter("one", rank=4, scale=0.1)
    try:
        request = bench.request("hello", tokens=8)
        plain = engine.generate(bench.compose(), request)
        adapted = engine.generate(bench.compose((ref, 1.0)), request)
        again = engine.generate(bench.compose(), request)
    finally:
        engine.close()
    assert plain.token_ids == again.token_ids
    assert adapted.token_ids != plain.token_ids
    assert adapted.completion_tokens > 0


def test_16_a_quantized_base_under_a_composition_stays_within_a_stated_bound(make_bench, make_kernel):
    bench = make_bench("Llama", hidden_size=128, intermediate_size=256, initializer_range=0.05)
    composition = bench.compose(
        (bench.adapter("one", scale=0.1), 0.7), (bench.adapter("two", scale=0.1), -0.4)
    )
    ids = torch.randint(5, 261, (2, 12), generator=torch.Generator().manual_seed(0))
    bases = {
        q: load_base(bench.base_folder, quantization=q, dtype="float32") for q in ("none", "8bit", "4bit")
    }
    logits = {q: make_kernel(base).logits([composition] * 2, ids) for q, base in bases.items()}
    right = logits["none"]
    errors = {q: float((found - right).norm() / right.norm()) for q, found in logits.items()}
    assert 0 < errors["8bit"] < 0.05
    assert errors["8bit"] < errors["4bit"] < 0.35


def test_a_bfloat16_base_answers(make_base):
    base = load_base(make_base(), dtype="bfloat16")
    assert next(base.model.parameters()).dtype == torch.bfloat16
    assert base.dtype_name == "bfloat16"


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_weights_in_a_pickle_are_refused(make_base):
    folder = make_base()
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(RefusedFileError, match=r"pytorch_model\.bin.*run code"):
        load_base(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_that_brings_its_own_code_is_refused(make_base, name):
    folder = make_base()
    edit_json(
        folder / name, auto_map={"AutoModelForCausalLM": "evil.Model", "AutoTokenizer": ["evil.T", None]}
    )
    (folder / "evil.py").write_text("raise SystemExit('this code must never run')")
    with pytest.raises(RefusedFileError, match="auto_map"):
        load_base(folder)


def test_an_architecture_that_nobody_knows_is_refused(make_base):
    folder = make_base()
    edit_json(folder / "config.json", model_type="never-heard-of-it")
    with pytest.raises(RefusedFileError, match="never-heard-of-it"):
        load_base(folder)


def test_a_base_with_a_missing_tensor_is_refused_and_not_filled_with_noise(make_base):
    folder = make_base()
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RefusedFileError, match="up_proj"):
        load_base(folder)


def test_a_base_that_is_cut_off_is_refused(make_base):
    folder = make_base()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RefusedFileError):
        load_base(folder)


def test_a_base_without_a_tokenizer_is_refused(make_base):
    folder = make_base()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(RefusedFileError, match="tokenizer"):
        load_base(folder)


def test_a_model_that_is_not_a_causal_one_is_refused(tmp_path):
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=40
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(RefusedFileError):
        load_base(tmp_path / "bert")


@pytest.mark.parametrize("source", ["/nowhere/at/all", "./nowhere", "no-such-base", "a/b/c"])
def test_a_source_that_does_not_exist_is_explained(source):
    with pytest.raises(InvalidInputError, match="base_model"):
        load_base(source)


def test_an_id_that_is_not_on_this_machine_and_cannot_be_fetched_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UnavailableError, match="could not be fetched"):
        load_base("nobody/nothing-here")


def test_an_id_in_the_local_cache_is_loaded_without_a_network(monkeypatch, make_base, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cache, commit = tmp_path / "hub", "0" * 40
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    repository = cache / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    make_base().rename(repository / "snapshots" / commit)
    base = load_base("someone/tiny")
    assert base.name == "someone/tiny"
    assert len(base.digest) == 64


def test_a_base_that_does_not_fit_is_refused_before_it_is_loaded(make_base, monkeypatch):
    folder = make_base()
    monkeypatch.setattr("core.engine.base.free_bytes", lambda device: 1000)
    monkeypatch.setattr("core.engine.base._load_model", lambda *a, **k: pytest.fail("it was loaded"))
    with pytest.raises(InsufficientMemoryError, match="does not fit"):
        load_base(folder)


def test_devices_and_number_types_are_checked(make_base):
    assert choose_dtype("auto", torch.device("cpu"), "none") == "float32"
    assert choose_dtype("auto", torch.device("cpu"), "4bit") == "bfloat16"
    assert choose_dtype("auto", torch.device("cuda"), "none") == "bfloat16"
    with pytest.raises(InvalidInputError, match="number type"):
        choose_dtype("float8", torch.device("cpu"), "none")
    with pytest.raises(InvalidInputError, match="device"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UnavailableError, match="GPU"):
            choose_device("cuda:0")
