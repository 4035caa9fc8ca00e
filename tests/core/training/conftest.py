import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest

from core.settings import Settings
from tests.core.training.tiny_base import make_tiny_base


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder whose base/tiny is a random two-layer Llama with a tokenizer."""
    models_dir = tmp_path_factory.mktemp("models")
    make_tiny_base(models_dir)
    return models_dir


@pytest.fixture
def tiny_settings(settings: Settings, tiny_models: Path) -> Settings:
    """Settings with a migrated database whose base is the tiny one."""
    return settings.model_copy(
        update={"base_model": str(tiny_models / "base" / "tiny"), "training_threads": 1, "device": "cpu"}
    )
