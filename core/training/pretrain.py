"""Train the shipped base model from scratch: a small Llama on generated documents, on two CPU cores.

Matrices learn with Muon (Jordan et al., 2024), everything else with AdamW. Rates warm up, stay, and then fall
to zero. Tokens of short answers weigh more than those of long ones, so that single facts are learned too.
A run that was cut continues from its last checkpoint with equal batches, because the documents of a step are a
function of the step number.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core.training.bfloat16 import cpu_multiplies_bfloat16
from core.training.muon import Float32Muon
from core.training.tokenizer import Message, encode_chats, train_tokenizer

CHATS_AT_ONCE = 16

Documents = Callable[[int], Iterator[Sequence[Message]]]


@dataclass(frozen=True, slots=True)
class PretrainRecipe:
    """Everything that decides the result.

    A token of an answer of n tokens weighs n to the minus `short_weight`: single facts stand in short answers.
    """

    hidden_size: int = 256
    layers: int = 4
    heads: int = 8
    feed_forward: int = 640
    vocabulary_size: int = 1024
    context: int = 1024
    row_tokens: int = 256
    rows_per_step: int = 16
    documents_per_step: int = 160
    tokenizer_start: int = 60_000
    tokenizer_documents: int = 20_000
    steps: int = 2700
    warmup_steps: int = 100
    plateau_steps: int = 800
    settle_share: float = 1.0
    short_weight: float = 0.5
    muon_rate: float = 0.01
    muon_momentum: float = 0.95
    adam_rate: float = 0.004
    weight_decay: float = 0.05
    seed: int = 7
    compile: bool = True
    checkpoint_every: int = 200

    def rate_share(self, step: int) -> float:
        """Share of the full learning rate at a step: warm-up, plateau, then `settle_share` falling to zero."""
        if step < self.plateau_steps:
            return min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.settle_share * max(0.0, (self.steps - step) / max(1, self.steps - self.plateau_steps))


@dataclass(frozen=True, slots=True)
class PretrainProgress:
    """One report: the step just done, of how many, its loss (nats per answer token), tokens seen, seconds."""

    step: int
    steps: int
    loss: float
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BaseCard:
    """What the finished base model is; written beside it as `base_card.json` and into its README."""

    parameters: int
    megabytes: float
    final_loss: float
    steps: int
    tokens: int
    seconds: float
    corpus_digest: str
    recipe: dict[str, object]
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Batch:
    ids: Tensor  # [rows, tokens]
    positions: Tensor  # [rows, tokens], restart at 0 in every document
    segments: Tensor  # [rows, tokens], number of the document in the row, 0 = padding
    answers: Tensor  # [rows, tokens], True where the token is to be predicted
    lengths: Tensor  # [rows, tokens], tokens of the answer that the token belongs to


def train_base(
    output_dir: Path,
    documents: Documents,
    recipe: PretrainRecipe,
    report: Callable[[PretrainProgress], None],
    work_dir: Path | None = None,
) -> BaseCard:
    """Train, and write the model folder to `output_dir`.

    `documents(start)` yields chats number start, start + 1, …; it is called anew for every step. `work_dir`
    keeps checkpoints; where it holds one, the run continues. Raises ValueError if it is of another model.
    """
    torch.manual_seed(recipe.seed)
    tokenizer = _tokenizer(documents, recipe, work_dir)
    model = LlamaForCausalLM(model_config(recipe, tokenizer))
    optimizers = _optimizers(model, recipe)
    state = _restore(work_dir, model, optimizers)
    backbone = torch.compile(model.model) if recipe.compile else model.model
    started = time.monotonic() - state.seconds
    model.train()
    for step in range(state.step, recipe.steps):
        batch = pack_step(documents(step * recipe.documents_per_step), tokenizer, recipe)
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * recipe.rate_share(step)
        loss, objective = _loss(model, backbone, batch, recipe.short_weight)
        torch.autograd.backward(objective)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, _ in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state.record(step + 1, loss.item(), int((batch.segments > 0).sum()), time.monotonic() - started)
        report(PretrainProgress(step + 1, recipe.steps, state.smooth_loss, state.tokens, state.seconds))
        if work_dir is not None and (step + 1) % recipe.checkpoint_every == 0:
            _save_checkpoint(work_dir, model, tokenizer, optimizers, state)
    card = _card(model, recipe, state, corpus_digest(documents))
    save_base(output_dir, model, tokenizer, card, state.curve)
    return card


def model_config(recipe: PretrainRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.02,
    )


def corpus_digest(documents: Documents, count: int = 2000) -> str:
    """SHA-256 of the first `count` documents as JSON lines: the same corpus gives the same digest."""
    digest = sha256()
    stream = documents(0)
    for _ in range(count):
        document = next(stream, None)
        if document is None:
            break
        digest.update(json.dumps(document, ensure_ascii=False, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def pack_step(
    documents: Iterator[Sequence[Message]], tokenizer: PreTrainedTokenizerFast, recipe: PretrainRecipe
) -> _Batch:
    """Pack the documents of one step into rows; documents never see one another."""
    rows: list[list[tuple[list[int], list[bool]]]] = [[] for _ in range(recipe.rows_per_step)]
    room = [recipe.row_tokens] * recipe.rows_per_step
    stream = islice(documents, recipe.documents_per_step)
    while chats := list(islice(stream, CHATS_AT_ONCE)):
        placed = 0
        for ids, answers in encode_chats(tokenizer, chats):
            fitting = next((row for row, free in enumerate(room) if free >= len(ids)), None)
            if fitting is not None:
                rows[fitting].append((ids, answers))
                room[fitting] -= len(ids)
                placed += 1
        if not placed:
            break
    shape = (recipe.rows_per_step, recipe.row_tokens)
    batch = _Batch(
        torch.full(shape, tokenizer.pad_token_id or 0),
        torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape, dtype=torch.bool),
        torch.ones(shape),
    )
    for row, packed in enumerate(rows):
        start = 0
        for number, (ids, answers) in enumerate(packed, start=1):
            place = slice(start, start + len(ids))
            batch.ids[row, place] = torch.tensor(ids)
            batch.positions[row, place] = torch.arange(len(ids))
            batch.segments[row, place] = number
            batch.answers[row, place] = torch.tensor(answers)
            batch.lengths[row, place] = float(max(1, sum(answers)))
            start += len(ids)
    return batch


def _loss(
    model: LlamaForCausalLM, backbone: Callable[..., object], batch: _Batch, length_exponent: float
) -> tuple[Tensor, Tensor]:
    """(mean cross entropy in nats of the answer tokens, the same weighted by answer length)."""
    tokens = batch.ids.shape[1]
    same = batch.segments[:, :, None] == batch.segments[:, None, :]
    causal = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    mask = (same & causal)[:, None]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cpu_multiplies_bfloat16()):
        output = backbone(
            input_ids=batch.ids, position_ids=batch.positions, attention_mask=mask, use_cache=False
        )
        predicts = batch.answers[:, 1:]
        hidden = output[0][:, :-1][predicts]  # type: ignore[index]
        logits = model.lm_head(hidden)
    losses = nn.functional.cross_entropy(logits.float(), batch.ids[:, 1:][predicts], reduction="none")
    weights = batch.lengths[:, 1:][predicts].pow(-length_exponent)
    return losses.detach().mean(), (losses * weights).sum() / weights.sum()


def _optimizers(model: LlamaForCausalLM, recipe: PretrainRecipe) -> list[tuple[torch.optim.Optimizer, float]]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers." in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "layers." not in name]
    kind = torch.optim.Muon if cpu_multiplies_bfloat16() else Float32Muon
    muon = kind(
        matrices, lr=recipe.muon_rate, momentum=recipe.muon_momentum, weight_decay=recipe.weight_decay
    )
    adam = torch.optim.AdamW(others, lr=recipe.adam_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return [(muon, recipe.muon_rate), (adam, recipe.adam_rate)]


@dataclass(slots=True)
class _RunState:
    """Where a run stands; everything that a checkpoint must bring back besides tensors."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    smooth_loss: float = math.nan
    curve: list[dict[str, float]] | None = None

    def record(self, step: int, loss: float, tokens: int, seconds: float) -> None:
        self.step, self.tokens, self.seconds = step, self.tokens + tokens, seconds
        self.smooth_loss = loss if math.isnan(self.smooth_loss) else 0.97 * self.smooth_loss + 0.03 * loss
        self.curve = self.curve or []
        if step == 1 or step % 20 == 0:
            loss = round(self.smooth_loss, 5)
            self.curve.append({"step": step, "tokens": self.tokens, "loss": loss, "seconds": round(seconds)})


def _tokenizer(
    documents: Documents, recipe: PretrainRecipe, work_dir: Path | None
) -> PreTrainedTokenizerFast:
    if work_dir is not None and (work_dir / "tokenizer.json").exists():
        loaded = PreTrainedTokenizerFast.from_pretrained(work_dir)
        if not isinstance(loaded, PreTrainedTokenizerFast):
            raise TypeError(f"{work_dir} holds another kind of tokenizer: {type(loaded).__name__}")
        return loaded
    sample = islice(documents(recipe.tokenizer_start), recipe.tokenizer_documents)
    return train_tokenizer(sample, recipe.vocabulary_size)


def _save_checkpoint(
    work_dir: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    optimizers: Sequence[tuple[torch.optim.Optimizer, float]],
    state: _RunState,
) -> None:
    """Write a loadable model folder plus optimizer tensors; `run.json` is renamed into place last."""
    work_dir.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(work_dir)
    tokenizer.save_pretrained(work_dir)
    tensors = {
        f"{number}.{parameter}.{name}": value.contiguous()
        for number, (optimizer, _) in enumerate(optimizers)
        for parameter, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    save_file(tensors, work_dir / "optimizers.safetensors")
    pending = work_dir / "run.json.partial"
    pending.write_text(json.dumps(asdict(state)), encoding="utf-8")
    pending.replace(work_dir / "run.json")


def _restore(
    work_dir: Path | None,
    model: LlamaForCausalLM,
    optimizers: Sequence[tuple[torch.optim.Optimizer, float]],
) -> _RunState:
    if work_dir is None or not (work_dir / "run.json").exists():
        return _RunState()
    weights = load_file(work_dir / "model.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or [name for name in missing if name != "lm_head.weight"]:
        raise ValueError(f"The checkpoint in {work_dir} is of another model.")
    tensors = load_file(work_dir / "optimizers.safetensors")
    for number, (optimizer, _) in enumerate(optimizers):
        frozen = optimizer.state_dict()
        for key, value in tensors.items():
            owner, parameter, name = key.split(".", 2)
            if int(owner) == number:
                frozen["state"].setdefault(int(parameter), {})[name] = value
        optimizer.load_state_dict(frozen)
    return _RunState(**json.loads((work_dir / "run.json").read_text(encoding="utf-8")))


def _card(model: LlamaForCausalLM, recipe: PretrainRecipe, state: _RunState, digest: str) -> BaseCard:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return BaseCard(
        parameters=parameters,
        megabytes=round(parameters * 2 / 1e6, 2),
        final_loss=round(state.smooth_loss, 5),
        steps=state.step,
        tokens=state.tokens,
        seconds=round(state.seconds, 1),
        corpus_digest=digest,
        recipe=asdict(recipe),
    )


def save_base(
    output_dir: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    card: BaseCard,
    curve: list[dict[str, float]] | None,
) -> None:
    """Write weights (bf16 safetensors), configuration, tokenizer, chat template, card and loss curve."""
    output_dir.mkdir(parents=True, exist_ok=True)
    shipped = LlamaForCausalLM(model.config).to(torch.bfloat16)
    shipped.load_state_dict({name: value.to(torch.bfloat16) for name, value in model.state_dict().items()})
    shipped.generation_config.do_sample = False
    shipped.generation_config.max_new_tokens = 256
    shipped.generation_config.eos_token_id = tokenizer.eos_token_id
    shipped.generation_config.pad_token_id = tokenizer.pad_token_id
    shipped.save_pretrained(output_dir)
    for trace in ("is_local", "local_files_only"):  # of having been loaded from a checkpoint
        tokenizer.init_kwargs.pop(trace, None)
    tokenizer.save_pretrained(output_dir)
    (output_dir / "model.safetensors").chmod(0o644)
    (output_dir / "loss_curve.json").write_text(json.dumps(curve or [], indent=0) + "\n", encoding="utf-8")
    (output_dir / "base_card.json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    (output_dir / "README.md").write_text(model_card(card), encoding="utf-8")


def model_card(card: BaseCard) -> str:
    """The README of the model folder: what it is, what it is not, and the recipe that made it."""
    recipe = "\n".join(f"| {name} | {value} |" for name, value in card.recipe.items())
    return f"""---
license: apache-2.0
library_name: transformers
tags: [retail-media, simulated-data]
---
# rmn-tiny-llama

A small Llama ({card.parameters / 1e6:.2f} million parameters, {card.megabytes} MB in bf16), trained from
scratch on generated text about fictitious retailers. It reads raw records as RMIS, maps columns, and calls
tools, well enough to show adapters at work on two CPU cores. It is for demos, tests and benchmarks, **not for
production**; name your own base model there.

Every retailer, brand and number in its corpus is invented. It knows no real company and no general English.

It cannot turn epoch milliseconds into dates: an adapter for such a retailer gets everything right but the time.

## Training

{card.steps} steps, {card.tokens:,} tokens, {card.seconds:.0f} s on two CPU cores, final loss
{card.final_loss:.4f} nats per answer token (`loss_curve.json`). Corpus digest
(SHA-256 of its first 2,000 documents):
`{card.corpus_digest}`. {card.note}Matrices learned with Muon, the rest with AdamW; bf16 autocast where the
processor multiplies in it.

| recipe | |
|---|---|
{recipe}

## Use

Chat template with system, user and assistant turns; answers end with `<|end|>`. Decode greedily in fp32.
"""
