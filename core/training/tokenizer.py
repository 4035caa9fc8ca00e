"""The byte-level tokenizer and chat template of the shipped base model."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, END, UNUSED = "<|pad|>", "<|end|>", "<|unused|>"
ROLES = ("system", "user", "assistant", "tool")
SPECIAL_TOKENS = (PAD, END, *(f"<|{role}|>" for role in ROLES), UNUSED)

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}"
    "<|assistant|>{% generation %}{{ message.content }}<|end|>{% endgeneration %}"
    "{%- elif message.role in ['system', 'user', 'tool'] -%}"
    "<|{{ message.role }}|>{{ message.content }}<|end|>"
    "{%- else -%}"
    "{{ raise_exception('Roles are system, user, assistant and tool.') }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)

#: Every digit alone; words keep their underscores; punctuation runs stay together: `","` is one token.
SPLIT = Regex(r"\p{N}| ?[\p{L}_]+| ?[^\s\p{L}\p{N}_]+|\s+")

Message = Mapping[str, str]


def train_tokenizer(documents: Iterable[Sequence[Message]], vocabulary_size: int) -> PreTrainedTokenizerFast:
    """Learn byte-pair merges from the documents' texts; the tokenizer knows the chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(SPLIT, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(documents), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[f"<|{role}|>" for role in ROLES],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        padding_side="left",
    )


def _texts(documents: Iterable[Sequence[Message]]) -> Iterator[str]:
    for document in documents:
        for message in document:
            yield message["content"]


def encode_chats(
    tokenizer: PreTrainedTokenizerFast, chats: Sequence[Sequence[Message]]
) -> list[tuple[list[int], list[bool]]]:
    """(token ids, which of them are the assistant's) of each chat, equal to applying the chat template."""
    fast = tokenizer.backend_tokenizer
    contents = [message["content"] for chat in chats for message in chat]
    encoded = iter(fast.encode_batch_fast(contents, add_special_tokens=False))
    role_ids = {role: fast.token_to_id(f"<|{role}|>") for role in ROLES}
    end = fast.token_to_id(END)
    rows = []
    for chat in chats:
        ids: list[int] = []
        answers: list[bool] = []
        for message in chat:
            body = [*next(encoded).ids, end]
            ids += [role_ids[message["role"]], *body]
            answers += [False, *[message["role"] == "assistant"] * len(body)]
        rows.append((ids, answers))
    return rows
