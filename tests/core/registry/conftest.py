"""The facts of the tiny base, and a shortcut to a registered adapter."""

from pathlib import Path

import pytest

from core.registry.bases import BaseFacts, read_base_facts


@pytest.fixture(scope="session")
def base_facts(tiny_base: Path) -> BaseFacts:
    return read_base_facts(tiny_base, name="tiny")
