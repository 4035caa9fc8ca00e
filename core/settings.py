"""Settings of one installation: built once, passed down, never changed while it runs."""

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from core.errors import InvalidInputError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
CONFIG_FILE = "rmn.toml"


class Settings(BaseSettings):
    """Read from `RMN_…` environment variables first, then from `rmn.toml`, then the defaults below."""

    model_config = SettingsConfigDict(
        env_prefix="RMN_", toml_file=CONFIG_FILE, frozen=True, extra="forbid", env_ignore_empty=True
    )

    home: Path = Field(
        PROJECT_ROOT / "var", description="Folder for everything that a running installation writes."
    )
    database_url: str = Field(
        "", description="SQLAlchemy URL of the database; empty means SQLite in the home folder."
    )
    queue_url: str = Field(
        "", description="URL of the job queue's own database (SQLite or PostgreSQL); empty means SQLite."
    )
    base_model: str = Field(
        "rmn-tiny-llama",
        description="The base model: a folder under models/base, a local path, or a Hugging Face id.",
    )
    base_quantization: Literal["none", "8bit", "4bit"] = Field(
        "none", description="How the base is held in memory; 8bit and 4bit need bitsandbytes."
    )
    base_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number type of the base's weights; auto is float32 on a CPU, bfloat16 on a GPU."
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    host: str = Field("127.0.0.1", description="Address that the console listens on.")
    port: int = Field(8501, ge=1, le=65535, description="Port of the console; the next free one if taken.")
    public_url: str = Field(
        "",
        description="Where browsers reach the console through a proxy, such as https://rmn.example.com; "
        "empty means at its own address.",
    )
    api_port: int = Field(8000, ge=1, le=65535, description="Port of the stand-alone API.")
    serving_threads: int = Field(1, ge=1, description="Threads that generation may use.")
    jobs_at_once: int = Field(
        1, ge=1, le=64, description="Jobs that one worker runs side by side, each in a process of its own."
    )
    training_threads: int = Field(
        0, ge=0, description="Threads that a training job may use; 0 means all cores."
    )
    max_batch_rows: int = Field(32, ge=1, le=512, description="Rows that one forward pass may hold.")
    max_queue_rows: int = Field(2048, ge=1, description="Requests that may wait before new ones are refused.")
    max_new_tokens: int = Field(
        512, ge=1, description="Longest answer that a request may ask for, in tokens."
    )
    adapter_slots: int = Field(32, ge=1, description="Adapters that stay in memory beside the base.")
    drain_seconds: float = Field(
        1.0,
        ge=0,
        le=300,
        description="How long GET /ready says no before the port closes, in seconds: longer than a load balancer asks.",
    )
    session_hours: float = Field(12.0, gt=0, description="How long a sign-in lasts, in hours.")
    sign_in_link_minutes: float = Field(
        60.0, gt=0, description="How long a sign-in link is good for, in minutes."
    )
    requests_per_minute: int = Field(6000, ge=1, description="API requests a tenant may make in a minute.")
    upload_limit_mb: int = Field(512, ge=1, description="Largest file that an upload may hold, in MB.")
    upload_quota_mb: int = Field(
        20_480, ge=1, description="Room that the uploaded files of one tenant may take together, in MB."
    )
    open_registration: bool = Field(
        False, description="Whether POST /tenants/register works without an administrator's key."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    log_json: bool = Field(False, description="Log lines as JSON instead of text.")

    @field_validator("public_url")
    @classmethod
    def _is_origin(cls, value: str) -> str:
        """Scheme, host, maybe a port: the console has no prefix of its own, so a path would lead nowhere."""
        try:
            parts = urlsplit(value.strip().rstrip("/").lower())
            plain = parts.scheme in ("http", "https") and bool(parts.hostname)
            if value.strip() and (not plain or parts.geturl() != f"{parts.scheme}://{parts.netloc}"):
                raise ValueError("no origin")
            whole = parts.username is None and parts.port != 0
        except ValueError:
            whole = False
        if not whole:
            raise ValueError("it must look like https://rmn.example.com or http://host:8080, without a path")
        return parts.geturl()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def resolved_database_url(self) -> str:
        """The URL that is really used."""
        return self.database_url or f"sqlite:///{self.home / 'rmn.sqlite'}"

    @property
    def resolved_queue_url(self) -> str:
        """The URL of the job queue's own database that is really used."""
        return self.queue_url or f"sqlite:///{self.home / 'queue.sqlite'}"

    @property
    def adapters_dir(self) -> Path:
        """Where published adapters live, one folder per digest."""
        return self.home / "adapters"

    @property
    def datasets_dir(self) -> Path:
        """Where imported datasets live, one file per digest."""
        return self.home / "datasets"

    @property
    def harmonized_dir(self) -> Path:
        """Where harmonized rows live, one folder per run."""
        return self.home / "harmonized"

    @property
    def jobs_dir(self) -> Path:
        """Where jobs keep checkpoints and logs, one folder per job."""
        return self.home / "jobs"

    @property
    def effective_training_threads(self) -> int:
        """Threads of a training job, never less than one."""
        return self.training_threads or max(1, os.cpu_count() or 1)


def load_settings(**overrides: object) -> Settings:
    """Build the settings. Raises InvalidInputError naming each field that is wrong."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInputError(
            "The settings are not valid.",
            wrong + ".",
            f"Correct the RMN_ environment variables or {CONFIG_FILE}.",
        ) from None
