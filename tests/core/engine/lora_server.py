"""A small model server that truly loads LoRA folders: vLLM's documented routes over transformers and PEFT.

It stands where vLLM is not installed. One forward pass at a time; answers of several requests interleave token by
token. Counts (`loads`, `running`) are for tests to look at.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.engine.decode import Sampler, TextAssembly


class LoraServer:
    """Serves the base in `folder` as «base». Use as a context manager; `url` is where it listens."""

    def __init__(self, folder: Path, *, max_lora_rank: int = 64, api_key: str = "") -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.context = int(self.model.config.max_position_embeddings)
        self.max_lora_rank, self.api_key = max_lora_rank, api_key
        self.loaded: dict[str, str] = {}
        self.loads: list[str] = []
        self.running = 0
        self.pause = 0.0  # seconds between tokens
        self.fail_with: int | None = None  # the status that completions answer with
        self._one = threading.Lock()  # PEFT's active adapter belongs to the model, not to the request
        self._server = uvicorn.Server(
            uvicorn.Config(self._app(), host="127.0.0.1", port=0, log_level="critical", lifespan="off")
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> "LoraServer":
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def forget(self) -> None:
        """As after a restart."""
        with self._one:
            for name in list(self.loaded):
                self._remove(name)

    def _app(self) -> FastAPI:
        app = FastAPI(openapi_url=None)
        app.get("/health")(self._health)
        app.get("/v1/models")(self._models)
        app.post("/v1/load_lora_adapter")(self._load)
        app.post("/v1/unload_lora_adapter")(self._unload)
        app.post("/v1/completions")(self._complete)
        return app

    def _health(self) -> Response:
        return Response()

    def _models(self, request: Request) -> Response:
        if refusal := self._locked(request):
            return refusal
        cards = [{"id": "base", "object": "model", "max_model_len": self.context}]
        cards += [{"id": name, "object": "model", "parent": "base"} for name in self.loaded]
        return JSONResponse({"object": "list", "data": cards})

    def _locked(self, request: Request) -> Response | None:
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return refused(401, "Unauthorized")
        return None

    def _load(self, body: dict[str, Any]) -> Response:
        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self.loaded:
            return refused(400, f"The lora adapter '{name}' has already been loaded.")
        if not (folder / "adapter_config.json").is_file():
            return refused(404, f"Loading lora {name} failed: No adapter found for {folder}")
        config = json.loads((folder / "adapter_config.json").read_text())
        rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
        if rank > self.max_lora_rank:
            return refused(500, f"LoRA rank {rank} is greater than max_lora_rank {self.max_lora_rank}.")
        with self._one:
            if isinstance(self.model, PeftModel):
                self.model.load_adapter(folder, adapter_name=name)
            else:
                self.model = PeftModel.from_pretrained(self.model, folder, adapter_name=name).eval()
            self.loaded[name] = str(folder)
            self.loads.append(name)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    def _unload(self, body: dict[str, Any]) -> Response:
        name = body["lora_name"]
        if name not in self.loaded:
            return refused(404, f"The lora adapter '{name}' cannot be found.")
        with self._one:
            self._remove(name)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    def _remove(self, name: str) -> None:
        del self.loaded[name]
        if self.loaded:
            self.model.set_adapter(next(iter(self.loaded)))
            self.model.delete_adapter(name)
        else:
            self.model = self.model.unload()

    async def _complete(self, body: dict[str, Any], request: Request) -> Response:
        if refusal := self._locked(request):
            return refusal
        if self.fail_with:
            return refused(self.fail_with, "It was told to fail.", {"retry-after": "7"})
        if body["model"] not in ("base", *self.loaded):
            return refused(404, f"The model `{body['model']}` does not exist.")
        if len(body["prompt"]) + body["max_tokens"] > self.context:
            return refused(400, f"This model's maximum context length is {self.context} tokens.")
        return StreamingResponse(self._events(body), media_type="text/event-stream")

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        self.running += 1
        try:
            count = 0
            async for event in self._answer(body):
                count += 1
                yield f"data: {json.dumps(event)}\n\n"
                await asyncio.sleep(self.pause)
            usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": count}
            yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.running -= 1

    async def _answer(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """One event for each token."""
        sampler = Sampler(body["temperature"], body["top_p"], body["seed"]) if body["temperature"] else None
        text = TextAssembly(lambda ids: self.tokenizer.decode(ids, skip_special_tokens=True), body["stop"])
        ends = {self.model.config.eos_token_id, *body["stop_token_ids"]}
        ids, cache = torch.tensor([body["prompt"]]), None
        for step in range(body["max_tokens"]):
            logits, cache = await asyncio.to_thread(self._forward, body["model"], ids, cache)
            token = sampler.choose(logits) if sampler else int(logits.argmax())
            ids = torch.tensor([[token]])
            piece = "" if token in ends else text.add(token)
            over = token in ends or text.stopped
            if over or step + 1 == body["max_tokens"]:
                piece += text.finish()
            reason = "stop" if over else "length" if step + 1 == body["max_tokens"] else None
            told = self._logprobs(logits, token, body["logprobs"])
            yield {"choices": [{"index": 0, "text": piece, "logprobs": told, "finish_reason": reason}]}
            if over:
                return

    def _forward(self, name: str, ids: Any, cache: Any) -> tuple[Any, Any]:
        with self._one, torch.inference_mode():
            adapted = isinstance(self.model, PeftModel)
            if adapted and name != "base":
                self.model.set_adapter(name)
            alone = self.model.disable_adapter() if adapted and name == "base" else nullcontext()
            with alone:
                out = self.model(input_ids=ids, past_key_values=cache, use_cache=True)
        return out.logits[0, -1].float(), out.past_key_values

    def _logprobs(self, logits: Any, token: int, count: int) -> dict[str, Any]:
        shares = torch.log_softmax(logits, dim=-1)
        values, places = shares.topk(count)
        top = {f"token_id:{p}": v for p, v in zip(places.tolist(), values.tolist(), strict=True)}
        own = float(shares[token])
        return {
            "tokens": [f"token_id:{token}"],
            "token_logprobs": [own],
            "top_logprobs": [top | {f"token_id:{token}": own}],
        }


def refused(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """vLLM's envelope of an error."""
    error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    return JSONResponse({"error": error}, status_code=status, headers=headers)
