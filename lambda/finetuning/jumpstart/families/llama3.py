"""Meta's Llama 3, 3.1 and 3.2: one training script of JumpStart, two chat templates, a licence for each generation.

The rules across hyperparameters are those of AWS's notebook on fine-tuning Llama 3; no specification states them. The
chat templates are those in the models' tokenizer configurations. That JumpStart's script renders a dialog of Llama 3
without the two dates is assumed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from finetuning.jumpstart.family import Conflict, Message, ModelSupport, Task, Vocabulary

DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
"""What the templates of Llama 3.1 and 3.2 put before every system text. The second date is the templates' default."""

VOCABULARY = Vocabulary(
    package="llama3_vocabulary",
    pattern=(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    ),
    special_tokens=tuple(
        f"<|{name}|>"
        for name in (
            *("begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1"),
            *("finetune_right_pad_id", "step_id", "start_header_id", "end_header_id", "eom_id", "eot_id"),
        )
    ),
)
"""Of all three generations, as Meta's llama-models package has it."""
FIRST_SPECIAL = 128_000
"""Number of the first special token."""

_TASK_FLAGS: dict[Task, dict[str, str]] = {
    Task.CHAT: {"chat_dataset": "True", "instruction_tuned": "False"},
    Task.INSTRUCTION: {"chat_dataset": "False", "instruction_tuned": "True"},
    Task.DOMAIN_ADAPTATION: {"chat_dataset": "False", "instruction_tuned": "False"},
}


@dataclass(frozen=True)
class Llama3:
    """One generation. `dated`: its chat template opens with a system turn that holds two dates, even where the dialog
    has none. `context` is that of the models' configurations.
    """

    name: str
    licence_url: str
    dated: bool
    context: int
    architecture: str = "LlamaForCausalLM"
    vocabulary: Vocabulary | None = VOCABULARY

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """`<|end_of_text|>`, `<|eom_id|>` and `<|eot_id|>`: those of the instruct models' `generation_config`. In
        Llama 3 the second one is reserved, and never generated.
        """
        return tuple(FIRST_SPECIAL + VOCABULARY.special_tokens.index(text) for text in self.stop_texts)

    @property
    def stop_texts(self) -> tuple[str, ...]:
        return "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"

    def chat_text(self, messages: Iterable[Message], *, add_generation_prompt: bool) -> str:
        """The template trims every content."""
        turns = [(message["role"], message["content"].strip()) for message in messages]
        if self.dated:
            system = turns.pop(0)[1] if turns and turns[0][0] == "system" else ""
            turns.insert(0, ("system", DATES + system))
        parts = [f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>" for role, content in turns]
        parts += ["<|start_header_id|>assistant<|end_header_id|>\n\n"] if add_generation_prompt else []
        return "<|begin_of_text|>" + "".join(parts)

    def task_flags(self, task: Task) -> Mapping[str, str]:
        return _TASK_FLAGS[task]

    def conflicts(self, model: ModelSupport, values: Mapping[str, str]) -> Iterator[Conflict]:
        true = {name for name, value in values.items() if value.lower() == "true"}
        if {"instruction_tuned", "chat_dataset"} <= true:
            yield Conflict(
                ("chat_dataset", "instruction_tuned"),
                "instruction_tuned and chat_dataset cannot both be True.",
                "Leave both out and set task to chat or instruction.",
            )
        sharding = {"int8_quantization", "enable_fsdp"}
        if not model.fsdp and "enable_fsdp" in true:
            yield Conflict(
                ("enable_fsdp", "int8_quantization"),
                f"{model.model_id} cannot be trained with FSDP.",
                "Set enable_fsdp to False and int8_quantization to True, or leave both out.",
            )
        elif sharding <= values.keys() and len(sharding & true) != 1:
            both = "both" if "enable_fsdp" in true else "neither"
            yield Conflict(
                ("int8_quantization", "enable_fsdp"),
                f"Exactly one of int8_quantization and enable_fsdp must be True; {both} is.",
                "Set one of them to True and the other to False, or leave both out.",
            )


LLAMA_3 = Llama3("Llama 3", "https://www.llama.com/llama3/license/", dated=False, context=8192)
LLAMA_3_1 = Llama3("Llama 3.1", "https://www.llama.com/llama3_1/license/", dated=True, context=131_072)
LLAMA_3_2 = Llama3("Llama 3.2", "https://www.llama.com/llama3_2/license/", dated=True, context=131_072)
