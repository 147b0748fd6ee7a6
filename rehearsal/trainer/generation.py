"""A loaded model that answers one request at a time."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rehearsal.trainer.invocation import Answer, OnToken, Parameters, RequestError, Token
from rehearsal.trainer.llama_prompt import HEADER, end_of_text, messages_of, stop_tokens

logger = logging.getLogger("rehearsal.trainer")


def _to_nobody(_token: Token) -> None:
    """The whole answer is enough."""


class Generator:
    """A model folder, loaded in bfloat16. Requests wait for each other: the cores are all one answer can use.

    Whatever the folder says, a text ends at the end-of-text token alone, as the `generation_config` of Llama's base
    models has it: at the end of a chat's turn only where the request names that token in `stop_token_ids`.
    """

    def __init__(self, folder: Path, max_new_tokens: int | None = None) -> None:
        """`max_new_tokens` ends an answer that a request allows to be longer; None leaves it to the request."""
        self._max_new_tokens = max_new_tokens
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        self._speaks_llama_31 = HEADER in self._tokenizer.get_vocab()
        self._turn = threading.Lock()
        self._stopping = threading.Event()

    def complete(self, prompt: str, parameters: Parameters, on_token: OnToken = _to_nobody) -> Answer:
        """The continuation of `prompt`, whose special tokens are read as such."""
        messages = None if self._speaks_llama_31 else messages_of(prompt)
        if messages is not None:
            logger.info("a prompt in Llama 3.1's chat format: rendered again in this model's own")
            return self.chat(messages, parameters, on_token)
        return self._generate(prompt, parameters, on_token)

    def chat(self, messages: list[dict[str, str]], parameters: Parameters, on_token: OnToken = _to_nobody) -> Answer:
        """The assistant's next turn."""
        prompt = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self._generate(str(prompt), parameters, on_token)

    def stop(self) -> None:
        """Ends the answer under way at its next token."""
        self._stopping.set()

    def _generate(self, prompt: str, parameters: Parameters, on_token: OnToken) -> Answer:
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
            streamer = _Streamer(self._tokenizer, on_token)
            ends = [end_of_text(self._tokenizer), *stop_tokens(self._tokenizer, parameters.stop_token_ids)]
            output = self._model.generate(
                **inputs,
                **self._limited(parameters).generation_arguments(),
                streamer=streamer,
                eos_token_id=ends,
                pad_token_id=self._tokenizer.pad_token_id,
                stopping_criteria=[lambda ids, scores, **_: torch.full((len(ids),), self._stopping.is_set())],
                **({"stop_strings": parameters.stop, "tokenizer": self._tokenizer} if parameters.stop else {}),
            )[0, asked:]
            seconds = time.monotonic() - started
        logger.info("%d tokens for a prompt of %d in %.1f s", len(output), asked, seconds)
        text = str(self._tokenizer.decode(output, skip_special_tokens=True))
        stopped = [end for end in parameters.stop if end in text]
        for end in stopped:
            text = text.split(end, 1)[0]
        ended = len(output) > 0 and int(output[-1]) in ends
        return Answer(
            text=prompt + text if parameters.return_full_text else text,
            prompt_tokens=asked,
            tokens=streamer.tokens,
            finish_reason="stop_sequence" if stopped else "eos_token" if ended else "length",
        )

    def _limited(self, parameters: Parameters) -> Parameters:
        most = min(parameters.max_new_tokens, self._max_new_tokens or parameters.max_new_tokens)
        return parameters.model_copy(update={"max_new_tokens": most})


class _Streamer:
    """What `generate` tells its tokens to: the prompt first, then one after the other."""

    def __init__(self, tokenizer: Any, on_token: OnToken) -> None:
        self._tokenizer, self._on_token = tokenizer, on_token
        self._prompt_passed = False
        self._text = ""
        self.tokens: list[Token] = []

    def put(self, ids: torch.Tensor) -> None:
        if not self._prompt_passed:
            self._prompt_passed = True
            return
        for token_id in ids.flatten().tolist():
            known = [token.id for token in self.tokens]
            text = str(self._tokenizer.decode([*known, token_id], skip_special_tokens=True))
            if text.endswith("\ufffd"):  # half a character: its text comes with the token that completes it
                text = self._text
            token = Token(id=token_id, text=text[len(self._text) :])
            self._text = text
            self.tokens.append(token)
            self._on_token(token)

    def end(self) -> None:
        """Gives the last token what is left: an answer that is cut off can end in half a character."""
        text = str(self._tokenizer.decode([token.id for token in self.tokens], skip_special_tokens=True))
        if self.tokens:
            self.tokens[-1].text += text[len(self._text) :]
