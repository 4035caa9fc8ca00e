"""Where a base model's files are, and whether they are safe to read."""

import json
from pathlib import Path
from typing import Any

from core.errors import InvalidInputError, RefusedFileError, UnavailableError

# What is fetched for a Hugging Face id: weights as safetensors, and text. Never a pickle, never code.
FETCHED = ("*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
_CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json")


def find_base_folder(source: str | Path) -> Path:
    """The folder of a base: `source` itself, or the local copy of a Hugging Face id, fetched if missing.

    Raises InvalidInputError when `source` is neither, UnavailableError when it cannot be fetched.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder.resolve()
    name = str(source)
    if (
        isinstance(source, Path)
        or folder.is_absolute()
        or name.startswith(("./", "../", "~"))
        or name.count("/") != 1
    ):
        raise InvalidInputError(
            f"There is no base model at {name}.",
            "It is neither a folder nor a Hugging Face id of the form owner/name.",
            "Correct the setting base_model.",
        )
    return _fetch(name)


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(FETCHED), local_files_only=True))
    except HFValidationError as error:
        raise InvalidInputError(
            f"{name} is not a Hugging Face id.", f"{error}.", "Correct base_model."
        ) from None
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=list(FETCHED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UnavailableError(
            f"The base model {name} is not on this machine and could not be fetched.",
            f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else 'no answer'}.",
            "Connect to the network, sign in to Hugging Face if the model is gated, or copy the model's folder "
            "to this machine and set base_model to it.",
        ) from None


def check_base_folder(folder: Path) -> dict[str, Any]:
    """config.json of a folder that is safe to load. Raises RefusedFileError with the reason otherwise."""
    if not (folder / "config.json").is_file():
        raise RefusedFileError(
            f"{folder.name} is not a base model.",
            "It has no config.json.",
            "Give the folder of a causal model.",
        )
    for name in _CONFIGS:
        if (folder / name).is_file() and "auto_map" in read_json(folder / name):
            raise RefusedFileError(
                f"The base model {folder.name} is refused.",
                f"Its {name} asks to run code that comes with the model (auto_map).",
                "Choose a model whose architecture transformers knows.",
            )
    if not list(folder.glob("*.safetensors")):
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
        raise RefusedFileError(
            f"The base model {folder.name} is refused.",
            f"Its weights are in {pickles[0]}, a format that can run code when it is read."
            if pickles
            else "It has no weights in safetensors format.",
            "Convert it with save_pretrained, or choose a model that is published as safetensors.",
        )
    return read_json(folder / "config.json")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises RefusedFileError when it is something else."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise RefusedFileError(f"{path.name} is not a JSON object.", "", "Fetch the model again.")
    return content
