"""The HTTP side of a model server with vLLM's runtime LoRA routes: calls out, answers and errors in our words.

Routes: /health, /v1/models, /v1/load_lora_adapter, /v1/unload_lora_adapter, /v1/completions (streamed).
Source: https://docs.vllm.ai/en/latest/features/lora/, «Dynamically serving LoRA adapters».
"""

import json
import queue
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from core.errors import BusyError, InvalidInputError, RefusedFileError, RmnError, UnavailableError

CONNECT_SECONDS = 5.0
SILENT_SECONDS = 120.0  # a server that sends nothing for so long is taken for dead
LOAD_SECONDS = 120.0
HEALTH_SECONDS = 2.0
LONGEST_REASON = 300


class ModelGoneError(UnavailableError):
    """The server does not know the model's name (any more): it was restarted, or somebody unloaded it."""


class ModelServer:
    """One server. The address comes from the settings alone; redirects and proxies of the environment are not followed."""

    def __init__(self, url: str, *, api_key: str = "") -> None:
        self._client = httpx.Client(
            base_url=url.rstrip("/").removesuffix("/v1") + "/",
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            follow_redirects=False,
            trust_env=False,
        )

    def healthy(self) -> bool:
        """Whether it answers now."""
        try:
            return self._client.get("health", timeout=HEALTH_SECONDS).status_code == 200
        except httpx.HTTPError:
            return False

    def models(self) -> dict[str, int | None]:
        """Every name that a request may use, with its longest context where the server says it."""
        try:
            cards = self._send("GET", "v1/models").json()["data"]
            return {str(card["id"]): card.get("max_model_len") for card in cards}
        except _StatusError as error:
            raise error.ours() from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _strange("Its list of models cannot be read.") from None

    def load(self, name: str, folder: Path) -> None:
        """Make the adapter in `folder` known as `name`; the server reads it from the disk. Loaded already: fine.

        Raises RefusedFileError when the server does not take it, UnavailableError.
        """
        try:
            self._send(
                "POST",
                "v1/load_lora_adapter",
                {"lora_name": name, "lora_path": str(folder)},
                timeout=LOAD_SECONDS,
            )
        except _StatusError as error:
            if error.status == 400 and "already been loaded" in error.reason:
                return
            if error.status in (404, 405) and not error.told:
                raise UnavailableError(
                    "The model server does not load adapters while it runs.",
                    "It has no route /v1/load_lora_adapter.",
                    "Start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True.",
                ) from None
            if error.status < 500 and error.status not in (400, 404, 413, 422):
                raise error.ours() from None
            raise RefusedFileError(
                "The model server did not take the adapter.",
                f"It says: {error.reason}",
                "It must see the same folders as this machine, and its largest LoRA rank must be high enough; "
                "else compress the composition.",
            ) from None

    def unload(self, name: str) -> None:
        """Forget `name`. A name that is not known is forgotten already."""
        try:
            self._send("POST", "v1/unload_lora_adapter", {"lora_name": name})
        except _StatusError as error:
            if error.status not in (400, 404):
                raise error.ours() from None

    def complete(self, payload: dict[str, Any]) -> "Call":
        """Start a streamed completion."""
        return Call(self._client, payload)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _send(
        self, method: str, path: str, body: Any = None, timeout: float = SILENT_SECONDS
    ) -> httpx.Response:
        limits = httpx.Timeout(timeout, connect=CONNECT_SECONDS)
        try:
            answer = self._client.request(method, path, json=body, timeout=limits)
        except (httpx.HTTPError, OSError) as error:
            raise _away(error) from None
        if answer.status_code != 200:
            raise _StatusError(answer)
        return answer


class Call:
    """One streamed completion. Events come in through a thread, so that whoever waits can also stop."""

    def __init__(self, client: httpx.Client, payload: dict[str, Any]) -> None:
        self._client, self._payload = client, payload
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None
        # An event of the stream; None once it ended as it should; or what it failed with.
        self.events: queue.SimpleQueue[dict[str, Any] | RmnError | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="remote-answer", daemon=True).start()

    def close(self) -> None:
        """Close the connection: the server sees that nobody listens and stops."""
        self._stopped.set()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            with self._client.stream("POST", "v1/completions", json=self._payload) as answer:
                stream = answer.extensions.get("network_stream")
                self._socket = stream.get_extra_info("socket") if stream else None
                if answer.status_code != 200:
                    answer.read()
                    raise _StatusError(answer)
                self._read(answer)
            self.events.put(None)
        except _StatusError as error:
            self.events.put(error.ours())
        except RmnError as error:
            self.events.put(error)
        except (httpx.HTTPError, httpx.StreamError, OSError, RuntimeError) as error:
            self.events.put(_away(error))

    def _read(self, answer: httpx.Response) -> None:
        """To the very end, so that the connection can be used again."""
        done = False
        for line in answer.iter_lines():
            if self._stopped.is_set():
                return
            data = line.removeprefix("data:").strip()
            done = done or data == "[DONE]"
            if done or not line.startswith("data:") or not data:
                continue
            try:
                event = json.loads(data)
            except ValueError:
                raise _strange("A piece of its answer cannot be read.") from None
            if not isinstance(event, dict) or event.get("error"):
                raise _strange(f"It says: {_reason(event)}")
            self.events.put(event)
        if not done:
            raise _strange("The connection ended in the middle of an answer.")


class _StatusError(RmnError):
    """The server answered with another status than 200. `told`: with an error in its own words."""

    def __init__(self, answer: httpx.Response) -> None:
        try:
            body = answer.json()
        except ValueError:
            body = None
        self.status = answer.status_code
        self.told = isinstance(body, dict) and ("error" in body or body.get("object") == "error")
        self.reason = _reason(body) or f"HTTP {self.status}."
        self.retry_after_s = _seconds(answer.headers.get("retry-after", ""))
        super().__init__(self.reason)

    def ours(self) -> RmnError:
        """The same as an error of the product."""
        if self.status in (401, 403):
            return UnavailableError(
                "The model server does not accept our key.", self.reason, "Correct engine_api_key."
            )
        if self.status in (429, 503):
            return BusyError(
                "The model server is busy.",
                self.reason,
                "Try again in a moment.",
                retry_after_s=self.retry_after_s,
            )
        if self.status == 404 and self.told:
            return ModelGoneError(
                "The model server does not know this model.", self.reason, "Check engine_model."
            )
        if self.status in (400, 413, 422):
            return InvalidInputError(
                "The model server refused the request.", self.reason, "Correct the request."
            )
        return _strange(f"It answered with HTTP {self.status}: {self.reason}")


def _reason(body: Any) -> str:
    """The server's own words, shortened; they are untrusted text."""
    error = body.get("error", body) if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return str(message)[:LONGEST_REASON] if message else ""


def _seconds(header: str) -> float:
    return min(60.0, max(1.0, float(header))) if header.isdigit() else 1.0


def _away(error: Exception) -> UnavailableError:
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        why = "It did not answer in time."
    else:
        why = f"{type(error).__name__}: {str(error)[:LONGEST_REASON]}."
    return UnavailableError("The model server cannot be reached.", why, "Start it, or correct engine_url.")


def _strange(why: str) -> UnavailableError:
    return UnavailableError(
        "The model server failed.", why, "Try again; if it happens again, look at the server's log."
    )
