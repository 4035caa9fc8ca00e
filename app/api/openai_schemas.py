"""OpenAI's chat format: what of it is understood, and what is said clearly to be not."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.engine.records import Message
from core.errors import InvalidInputError
from core.serve.records import InferenceAnswer, InferenceRequest

_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class TextPart(BaseModel):
    """A piece of a message. Only text is understood."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def as_message(self) -> Message:
        """As the engine takes it."""
        content = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        return Message(role=_ROLES[self.role], content=content)


class StreamOptions(BaseModel):
    """Whether a stream ends with the number of tokens."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """`model` names the base, an adapter or a federation. Fields that are not listed here are ignored."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "model": "retailer_alpha",
                    "messages": [{"role": "user", "content": 'Map this record: {"evt": "click"}'}],
                    "max_tokens": 128,
                    "stream": False,
                }
            ]
        },
    )

    model: str = Field(min_length=1, max_length=200)
    messages: list[ChatMessage] = Field(min_length=1, max_length=64)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, description="Left out: 0, the most likely answer.")
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, description="Only 1.")
    logprobs: bool | None = Field(None, description="Whether each token's log-probability is told.")
    top_logprobs: int | None = Field(
        None, description="Only 0: other tokens than the generated are not told."
    )
    response_format: dict[str, Any] | None = Field(None, description='Only {"type": "text"}.')
    tools: list[Any] | None = Field(None, description="Not supported.")
    functions: list[Any] | None = Field(None, description="Not supported.")
    frequency_penalty: float | None = Field(None, description="Only 0.")
    presence_penalty: float | None = Field(None, description="Only 0.")
    logit_bias: dict[str, Any] | None = Field(None, description="Not supported.")
    user: str | None = Field(
        None, max_length=200, description="Who asks: keeps to one variant of an experiment."
    )
    metadata: dict[str, str] | None = Field(
        None,
        max_length=16,
        description="What an experiment may look at: retailer, brand, and so on; «task» is what kind of work it is.",
    )

    @field_validator("metadata")
    @classmethod
    def _is_text(cls, given: dict[str, str] | None) -> dict[str, str] | None:
        """JSON can say half a surrogate pair, which is no text and which no UTF-8 holds."""
        for text in (part for pair in (given or {}).items() for part in pair):
            if any("\ud800" <= sign <= "\udfff" for sign in text):
                raise ValueError("metadata holds half a surrogate pair, which is no text")
        return given

    def as_inference(self) -> InferenceRequest:
        """As the runtime takes it. Raises InvalidInputError naming what is asked for and not supported."""
        self._refuse_unsupported()
        given: dict[str, Any] = {
            "max_new_tokens": self.max_completion_tokens or self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "logprobs": self.logprobs,
            "user_id": self.user or None,
        }
        context = dict(self.metadata or {})
        given["task"] = context.pop("task", "")[:80] or None
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stop) > 8 or not all(stop):
            raise InvalidInputError(
                "stop is not valid.", "It holds up to 8 texts, none of them empty.", "Correct it."
            )
        return InferenceRequest(
            model=self.model,
            messages=tuple(message.as_message() for message in self.messages),
            stop=tuple(stop),
            context=context,
            **{name: value for name, value in given.items() if value is not None},
        )

    def _refuse_unsupported(self) -> None:
        asked = {
            "n": self.n not in (None, 1),
            "top_logprobs": bool(self.top_logprobs),
            "response_format": (self.response_format or {"type": "text"}).get("type") != "text",
            "tools": bool(self.tools),
            "functions": bool(self.functions),
            "frequency_penalty": bool(self.frequency_penalty),
            "presence_penalty": bool(self.presence_penalty),
            "logit_bias": bool(self.logit_bias),
        }
        names = [name for name, present in asked.items() if present]
        if names:
            raise InvalidInputError(
                f"{', '.join(names)}: not supported.",
                "The answer would not be what you asked for.",
                "Leave it out.",
            )


class Usage(BaseModel):
    """Tokens in and out."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, answer: InferenceAnswer) -> "Usage":
        """Of one answer."""
        total = answer.prompt_tokens + answer.completion_tokens
        return cls(
            prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens, total_tokens=total
        )


class AnswerMessage(BaseModel):
    """The turn that was generated."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: str | None = None


class TokenChance(BaseModel):
    """One generated token and the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: None = None
    top_logprobs: list[Any] = []


class TokenChances(BaseModel):
    """All of them, in order."""

    content: list[TokenChance]
    refusal: None = None

    @classmethod
    def of(cls, answer: InferenceAnswer) -> "TokenChances | None":
        """Of one answer; None where they were not asked for."""
        if answer.logprobs is None:
            return None
        return cls(content=[TokenChance(token=t.token, logprob=t.logprob) for t in answer.logprobs])


class Choice(BaseModel):
    """The one answer."""

    index: int = 0
    message: AnswerMessage
    logprobs: TokenChances | None = None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """A whole answer. `system_fingerprint` names the exact composition."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str
    experiment: str | None = Field(None, description="The experiment that the request belonged to.")
    variant: str | None = Field(None, description="Its variant, which answered.")


class ModelCard(BaseModel):
    """Something that `model` may name."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    kind: Literal["base", "adapter", "federation", "experiment"]
    description: str


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class OpenAIErrorDetail(BaseModel):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None
    request_id: str


class OpenAIErrorBody(BaseModel):
    """Every error under /v1 looks like this."""

    error: OpenAIErrorDetail


def finish_reason(answer: InferenceAnswer) -> Literal["stop", "length"]:
    """As OpenAI calls it: cut off by tokens or by time is the same. A cancelled answer has no reader."""
    return "length" if answer.finish_reason in ("length", "timeout") else "stop"


def fingerprint(answer: InferenceAnswer) -> str:
    """Names the content that answered: the same fingerprint, seed and prompt give the same answer."""
    return f"fp_{answer.composition_key[:12]}"
