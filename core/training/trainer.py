"""TRL's SFT trainer with the loss on answers alone, and checkpoints without a pickle that are whole or absent."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from trl import SFTTrainer

from core.storage.files import staged_directory
from core.training.checkpoints import RunFolder
from core.training.sampler import SimilarLengths

# Decoders whose logits are the output embedding's product and nothing more, so that the answer's positions can be
# picked before it. For all others TRL's own loss is used.
PLAIN_HEADS = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
TRAINER_STATE, OPTIMIZER, OPTIMIZER_GROUPS = "trainer_state.json", "optimizer.safetensors", "optimizer.json"
SCHEDULE, RANDOM, RANDOM_TENSORS = "schedule.json", "random.json", "random.safetensors"


class AdapterTrainer(SFTTrainer):  # type: ignore[misc]
    """`run` is the folder that takes the checkpoints; `tokens_seen` counts real tokens since the process began.

    `before_checkpoint` is to write the readings so far: a resumed run will not repeat them.
    """

    def __init__(
        self, *, run: RunFolder, base_name: str, before_checkpoint: Callable[[], object], **options: Any
    ) -> None:
        self.run, self.base_name, self.before_checkpoint = run, base_name, before_checkpoint
        self.tokens_seen = 0
        super().__init__(**options)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Mean cross-entropy of the answers' tokens.

        The same value as TRL's, without logits of the prompt's tokens, which halves the time of a small model.
        """
        if model.training:
            self.tokens_seen += int(inputs["attention_mask"].sum())
        base = self.model.get_base_model()
        if base.config.model_type not in PLAIN_HEADS or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"][:, 1:]
        answered = labels != -100
        with self.accelerator.autocast():
            hidden = base.model(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
            ).last_hidden_state
            logits = base.get_output_embeddings()(hidden[:, :-1][answered])
        total = functional.cross_entropy(logits.float(), labels[answered], reduction="sum")
        count = answered.sum() if num_items_in_batch is None else num_items_in_batch
        return total / torch.as_tensor(count, device=total.device).clamp(min=1)

    def _get_train_sampler(self, train_dataset: Any = None) -> SimilarLengths:
        rows = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in rows["input_ids"]]
        return SimilarLengths(lengths, self.args.per_device_train_batch_size, self.args.data_seed)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.before_checkpoint()
        with staged_directory(self.run.checkpoint(self.state.global_step)) as folder:
            save_adapter(self.model, folder, self.base_name)
            self._save_optimizer_and_scheduler(str(folder))
            self._save_rng_state(str(folder))
            self.state.save_to_json(str(folder / TRAINER_STATE))
        self.run.forget_older()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        folder, state = Path(output_dir), self.optimizer.state_dict()
        tensors = {
            f"{index}.{name}": value.contiguous()
            for index, values in state["state"].items()
            for name, value in values.items()
            if isinstance(value, torch.Tensor)
        }
        save_file(tensors, folder / OPTIMIZER)
        (folder / OPTIMIZER_GROUPS).write_text(json.dumps(state["param_groups"]))
        (folder / SCHEDULE).write_text(json.dumps(self.lr_scheduler.state_dict()))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in load_file(folder / OPTIMIZER).items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        groups = json.loads((folder / OPTIMIZER_GROUPS).read_text())
        for group in groups:
            group["betas"] = tuple(group["betas"])
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.lr_scheduler.load_state_dict(json.loads((folder / SCHEDULE).read_text()))

    def _save_rng_state(self, output_dir: str) -> None:
        folder, numpy_state = Path(output_dir), np.random.get_state(legacy=False)
        if not isinstance(numpy_state, dict):
            raise TypeError(f"numpy gave its state as {type(numpy_state).__name__}")
        tensors = {"cpu": torch.random.get_rng_state()}
        if torch.cuda.is_available():
            tensors["cuda"] = torch.cuda.get_rng_state()
        tensors["numpy"] = torch.from_numpy(numpy_state["state"].pop("key").astype(np.int64))
        save_file(tensors, folder / RANDOM_TENSORS)
        (folder / RANDOM).write_text(json.dumps({"python": random.getstate(), "numpy": numpy_state}))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        tensors = load_file(Path(checkpoint) / RANDOM_TENSORS)
        states = json.loads((Path(checkpoint) / RANDOM).read_text())
        version, words, gauss = states["python"]
        random.setstate((version, tuple(words), gauss))
        numpy_state = states["numpy"]
        numpy_state["state"]["key"] = tensors["numpy"].numpy().astype(np.uint32)
        np.random.set_state(numpy_state)
        torch.random.set_rng_state(tensors["cpu"])
        if "cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["cuda"])


def save_adapter(model: Any, folder: Path, base_name: str) -> None:
    """Write adapter_model.safetensors and adapter_config.json of a PEFT model into an existing folder.

    Nothing else: no README of PEFT, no tokenizer, no pickle. Weights are float32; the base is named by
    `base_name`, not by its place on this disk, so the same run gives the same bytes anywhere.
    """
    from peft import get_peft_model_state_dict

    weights = {
        name: value.detach().to("cpu", torch.float32).contiguous()
        for name, value in get_peft_model_state_dict(model).items()
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config[model.active_adapter].to_dict()
    config |= {"inference_mode": True, "base_model_name_or_path": base_name}
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in sorted(config.items())}
    (folder / "adapter_config.json").write_text(json.dumps(plain, indent=2) + "\n")
