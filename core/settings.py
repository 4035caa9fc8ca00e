"""Settings of one installation: built once, passed down, never changed while it runs."""

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
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
    adapter_memory_mb: int = Field(
        0, ge=0, description="Memory for adapters, in MB; 0 means a quarter of what is free at the start."
    )
    kv_memory_mb: int = Field(
        0,
        ge=0,
        description="Memory for the keys and values of requests that run, in MB; 0 means half of what is free.",
    )
    prefix_cache: bool = Field(
        True, description="Whether the keys and values of prompts are kept for prompts that begin alike."
    )
    prefix_memory_mb: int = Field(
        0, ge=0, description="Memory for kept prompts, in MB; 0 means a twentieth of what is free."
    )
    finish_seconds: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="How long a stopping engine lets answers finish, in seconds; then they end with what is there.",
    )
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
    tokens_per_minute: int = Field(
        0, ge=0, description="Tokens a tenant may read and generate in a minute; 0 means no limit."
    )
    tokens_per_day: int = Field(
        0, ge=0, description="Tokens a tenant may read and generate in a day (UTC); 0 means no limit."
    )
    concurrent_requests: int = Field(
        256, ge=1, description="Answers a tenant may wait for at the same time, in each process."
    )
    answer_seconds: float = Field(
        600.0,
        gt=0,
        le=86_400,
        description="Longest time from a request to its answer, in seconds; then it ends with what is there.",
    )
    prewarm: str = Field(
        "",
        description="Adapters and federations that are ready before anybody asks: workspace:name, separated by commas.",
    )
    operator_workspace: str = Field(
        "",
        description="Slug of the workspace whose administrators set the limits of all others and read GET /metrics; "
        "empty means nobody, but for the command line.",
    )
    metrics_token: SecretStr = Field(
        SecretStr(""), description="Bearer token that reads GET /metrics; empty means none does."
    )
    metrics_by_tenant: bool = Field(
        False, description="Whether the metrics of answers name the slug of their tenant."
    )
    prompt_price: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="Price of a million tokens that are read, for analytics; 0 means none.",
    )
    completion_price: float = Field(
        0.0, ge=0, le=1_000_000, description="Price of a million tokens that are generated; 0 means none."
    )
    currency: str = Field("USD", min_length=1, max_length=8, description="Currency of the prices.")
    request_days: int = Field(
        30, ge=1, le=3650, description="Days that analytics keeps single requests, without their text."
    )
    hour_days: int = Field(
        400, ge=2, le=3650, description="Days that analytics keeps hours; what days add up to stays."
    )
    record_buffer: int = Field(
        200_000,
        ge=1_000,
        le=10_000_000,
        description="Requests that wait in memory for analytics while the database is away.",
    )
    webhook_hosts: str = Field(
        "",
        description="Hosts that webhooks may reach although they are not on the public internet, separated by commas: "
        "hooks.internal, 10.0.0.5:8443.",
    )
    upload_limit_mb: int = Field(512, ge=1, description="Largest file that an upload may hold, in MB.")
    upload_quota_mb: int = Field(
        20_480, ge=1, description="Room that the uploaded files of one tenant may take together, in MB."
    )
    open_registration: bool = Field(
        False, description="Whether POST /tenants/register works without an administrator's key."
    )
    engine_backend: Literal["local", "openai-compatible"] = Field(
        "local",
        description="Where answers are generated: in this process, or on a model server with vLLM's LoRA routes.",
    )
    engine_url: str = Field(
        "", description="Address of the model server, such as http://gpu-1:8000; for openai-compatible alone."
    )
    engine_model: str = Field("", description="Name under which the model server serves the base.")
    engine_api_key: SecretStr = Field(
        SecretStr(""), description="Key that the model server asks for, if any."
    )
    engine_max_rank: int = Field(
        0,
        ge=0,
        le=1024,
        description="Largest LoRA rank that the model server takes (vLLM: --max-lora-rank): a composition beyond it "
        "is compressed to it; 0 means none is.",
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

    @model_validator(mode="after")
    def _has_server(self) -> "Settings":
        """The address comes from here alone; a name and password in it would end up in logs."""
        if self.engine_backend == "openai-compatible":
            parts = urlsplit(self.engine_url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
                raise ValueError("engine_url must look like http://gpu-1:8000")
            if not self.engine_model:
                raise ValueError("engine_model is needed: the name of the base on the model server")
        return self

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
    def webhook_host_names(self) -> frozenset[str]:
        """Hosts that webhooks may reach wherever they are, some with their port."""
        return frozenset(host.strip().lower() for host in self.webhook_hosts.split(",") if host.strip())

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
    def exports_dir(self) -> Path:
        """Where compositions lie that a model server loads, one folder per composition."""
        return self.home / "exports"

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
