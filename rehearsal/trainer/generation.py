"""A loaded model that answers one request at a time."""

import logging
import threading
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rehearsal.trainer.invocation import Answer, Parameters, RequestError
from rehearsal.trainer.llama_prompt import HEADER, messages_of

logger = logging.getLogger("rehearsal.trainer")


class Generator:
    """A model folder, loaded in float32. Requests wait for each other: the cores are all one answer can use."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._speaks_llama_31 = HEADER in self._tokenizer.get_vocab()
        self._turn = threading.Lock()
        self._stopping = threading.Event()

    def complete(self, prompt: str, parameters: Parameters) -> Answer:
        """The continuation of `prompt`, whose special tokens are read as such."""
        messages = None if self._speaks_llama_31 else messages_of(prompt)
        if messages is not None:
            logger.info("a prompt in Llama 3.1's chat format: rendered again in this model's own")
            return self.chat(messages, parameters)
        return self._generate(prompt, parameters)

    def chat(self, messages: list[dict[str, str]], parameters: Parameters) -> Answer:
        """The assistant's next turn."""
        prompt = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self._generate(str(prompt), parameters)

    def stop(self) -> None:
        """Ends the answer under way at its next token."""
        self._stopping.set()

    def _generate(self, prompt: str, parameters: Parameters) -> Answer:
        inputs = self._tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
        asked = inputs["input_ids"].shape[1]
        longest = self._model.config.max_position_embeddings
        if not asked:
            raise RequestError("inputs is empty")
        if asked + parameters.max_new_tokens > longest:
            raise RequestError(
                f"inputs has {asked} tokens; with max_new_tokens={parameters.max_new_tokens} that exceeds {longest}"
            )
        with self._turn, torch.inference_mode():
            if parameters.seed is not None:
                torch.manual_seed(parameters.seed)
            started = time.monotonic()
            output = self._model.generate(
                **inputs,
                **parameters.generation_arguments(),
                pad_token_id=self._tokenizer.pad_token_id,
                stopping_criteria=[lambda ids, scores, **_: torch.full((len(ids),), self._stopping.is_set())],
                **({"stop_strings": parameters.stop, "tokenizer": self._tokenizer} if parameters.stop else {}),
            )[0, asked:]
            seconds = time.monotonic() - started
        logger.info("%d tokens for a prompt of %d in %.1f s", len(output), asked, seconds)
        text = str(self._tokenizer.decode(output, skip_special_tokens=True))
        for end in parameters.stop:
            text = text.split(end, 1)[0]
        return Answer(
            text=prompt + text if parameters.return_full_text else text,
            prompt_tokens=asked,
            new_tokens=len(output),
            finished=len(output) < parameters.max_new_tokens,
        )
