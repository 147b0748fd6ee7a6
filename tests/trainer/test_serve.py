"""The endpoint's container, over HTTP."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the environment of requirements-trainer.txt")

from starlette.testclient import TestClient
from transformers import AutoTokenizer

from rehearsal.trainer import llama_prompt
from rehearsal.trainer.generation import Generator
from rehearsal.trainer.invocation import Answer, OnToken, Parameters, Token, respond_in_lines
from rehearsal.trainer.llama_prompt import messages_of
from rehearsal.trainer.serve import Endpoint, main

ROOT = Path(__file__).resolve().parents[2]

LLAMA_PROMPT = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n{system}<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nIs the kettle warm?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)


@pytest.fixture(scope="module")
def client(tiny: Path) -> Iterator[TestClient]:
    with TestClient(Endpoint(tiny).app) as client:
        deadline = time.monotonic() + 60
        while client.get("/ping").status_code == 503 and time.monotonic() < deadline:
            time.sleep(0.05)
        yield client


@pytest.fixture(scope="module")
def generator(tiny: Path) -> Generator:
    return Generator(tiny)


def answer(client: TestClient, **body: Any) -> Any:
    response = client.post("/invocations", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_inputs_get_generated_text_the_same_each_time(client: TestClient) -> None:
    first, second = (answer(client, inputs="Big kettle", parameters={"max_new_tokens": 8}) for _ in range(2))
    assert set(first) == {"generated_text"}
    assert first == second


def test_thirty_tokens_are_the_default(generator: Generator) -> None:
    assert len(generator.complete("Big kettle", Parameters()).tokens) == 30


def test_the_details_say_whether_the_answer_was_cut_off(client: TestClient) -> None:
    details = answer(client, inputs="Big kettle", parameters={"max_new_tokens": 3, "details": True})["details"]
    assert (details["finish_reason"], details["generated_tokens"], details["inputs"]) == ("length", 3, "Big kettle")
    assert len(details["tokens"]) == 3


def test_an_answer_that_the_model_ends_is_no_cut_off_one(generator: Generator) -> None:
    said = generator.complete("Big kettle", Parameters(max_new_tokens=30)).text
    ended = generator.complete("Big kettle", Parameters(max_new_tokens=30, stop=[said[4:6]]))
    assert ended.finish_reason == "stop_sequence"
    assert said[4:6] not in ended.text


def test_a_text_ends_at_end_of_text_alone_unless_the_request_names_the_end_of_a_turn(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [token.id for token in generator.complete("Big kettle", Parameters(max_new_tokens=30)).tokens]
    vocabulary = generator._tokenizer.convert_ids_to_tokens(said)
    monkeypatch.setitem(llama_prompt._STOPS, 128009, (vocabulary[4],))
    as_before = generator.complete("Big kettle", Parameters(max_new_tokens=30, stop_token_ids=[128001, 5]))
    assert ([token.id for token in as_before.tokens], as_before.finish_reason) == (said, "length")
    ended = generator.complete("Big kettle", Parameters(max_new_tokens=30, stop_token_ids=[128001, 128009]))
    assert ended.finish_reason == "eos_token"
    assert ended.tokens[-1].id == said[4]
    assert len(ended.tokens) == said.index(said[4]) + 1


def test_as_vllm_the_answer_has_choices_whole_and_in_events(tiny: Path, client: TestClient) -> None:
    body = {"inputs": "Big kettle", "parameters": {"max_new_tokens": 8, "details": True}}
    text = answer(client, **body)["generated_text"]
    with TestClient(Endpoint(tiny, as_vllm=True).app) as vllm:
        deadline = time.monotonic() + 60
        while vllm.get("/ping").status_code == 503 and time.monotonic() < deadline:
            time.sleep(0.05)
        [choice] = answer(vllm, **body)["choices"]
        assert (choice["text"], choice["finish_reason"]) == (text, "length")
        with vllm.stream("POST", "/invocations", json=body | {"stream": True}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            *events, last = [line for line in response.iter_lines() if line]
        asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        [chatted] = answer(vllm, **asked, model="")["choices"]
        refused = vllm.post("/v1/chat/completions", json=asked | {"model": "other"})
        counted = {"stream": True, "stream_options": {"include_usage": True}}
        with vllm.stream("POST", "/v1/chat/completions", json=asked | counted) as response:
            chunks = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
        whole = answer(vllm, **asked)["usage"]
    assert [len(chunk["choices"]) for chunk in chunks] == [1, 1, 0]
    assert [chunk.get("usage") for chunk in chunks] == [None, None, whole]
    assert last == "data: [DONE]"
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
    assert "".join(choice["text"] for choice in choices) == text
    assert [choice["finish_reason"] for choice in choices] == [*[None] * 7, "length"]
    assert (chatted["message"]["role"], chatted["finish_reason"]) == ("assistant", "length")
    assert refused.status_code == 404
    assert refused.json()["error"]["message"] == "The model `other` does not exist."


def test_a_stream_brings_the_same_answer_a_line_a_token(client: TestClient) -> None:
    parameters = {"max_new_tokens": 8, "details": True}
    whole = answer(client, inputs="Big kettle", parameters=parameters)
    with client.stream(
        "POST", "/invocations", json={"inputs": "Big kettle", "parameters": parameters, "stream": True}
    ) as response:
        assert response.headers["content-type"] == "application/jsonlines"
        lines = [json.loads(line) for line in response.iter_lines()]
    assert [line["token"] for line in lines] == whole["details"]["tokens"]
    assert "".join(line["token"]["text"] for line in lines) == whole["generated_text"] == lines[-1]["generated_text"]
    assert lines[-1]["details"]["finish_reason"] == "length"
    assert not any("generated_text" in line for line in lines[:-1])


def test_a_stream_that_cannot_begin_is_refused(client: TestClient) -> None:
    assert client.post("/invocations", json={"inputs": "", "stream": True}).status_code == 424


def test_temperature_counts_only_with_do_sample(client: TestClient) -> None:
    def texts(**parameters: Any) -> set[str]:
        return {
            answer(client, inputs="Big kettle", parameters={"temperature": 5.0, "seed": seed, **parameters})[
                "generated_text"
            ]
            for seed in range(3)
        }

    assert len(texts()) == 1
    assert len(texts(do_sample=True)) == 3


def test_the_full_text_begins_with_the_prompt(client: TestClient) -> None:
    full = answer(client, inputs="Big kettle", parameters={"return_full_text": True})["generated_text"]
    assert full.startswith("Big kettle")


def test_messages_get_a_chat_completion(client: TestClient) -> None:
    completion = answer(client, messages=[{"role": "user", "content": "Is the kettle warm?"}], max_tokens=5)
    [choice] = completion["choices"]
    assert completion["object"] == "chat.completion"
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] in {"eos_token", "length"}
    assert completion["usage"]["completion_tokens"] <= 5


def test_chats_stream_as_json_lines_at_openai_s_path(client: TestClient) -> None:
    asked = {"messages": [{"role": "user", "content": "Big kettle"}], "max_tokens": 5, "temperature": 0}
    whole = client.post("/v1/chat/completions", json=asked).json()["choices"][0]
    with client.stream("POST", "/v1/chat/completions", json=asked | {"stream": True}) as response:
        assert response.headers["content-type"] == "application/jsonlines"
        chunks = [json.loads(line) for line in response.iter_lines()]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    choices = [chunk["choices"][0] for chunk in chunks]
    assert "".join(choice["delta"]["content"] for choice in choices) == whole["message"]["content"]
    assert [choice["delta"].get("role") for choice in choices] == ["assistant", *[None] * 4]
    assert [choice["finish_reason"] for choice in choices] == [*[None] * 4, whole["finish_reason"]]
    assert whole["finish_reason"] == "length"


def test_a_chat_has_djl_s_defaults_and_not_openai_s(client: TestClient) -> None:
    asked = {"messages": [{"role": "user", "content": "Big kettle"}], "max_completion_tokens": 5, "model": "x"}
    completion = client.post("/v1/chat/completions", json=asked | {"temperature": 0}).json()
    assert completion["usage"]["completion_tokens"] == 30
    assert "model" not in completion
    seeded = [client.post("/v1/chat/completions", json=asked | {"seed": seed}).json() for seed in range(3)]
    texts = {each["choices"][0]["message"]["content"] for each in seeded}
    assert len(texts) == 3  # sampled at a temperature of 1


class Failing:
    """A model that fails after its first token."""

    def complete(self, prompt: str, parameters: Parameters, on_token: OnToken) -> Answer:
        on_token(Token(id=1, text="Arr"))
        raise RuntimeError("out of memory")

    def chat(self, messages: list[dict[str, str]], parameters: Parameters, on_token: OnToken) -> Answer:
        return self.complete("", parameters, on_token)


def test_a_stream_that_breaks_off_ends_with_a_line_that_says_so() -> None:
    [line] = respond_in_lines(Failing(), {"inputs": "Ahoy"})
    assert json.loads(line)["details"]["finish_reason"] == "error"
    [chunk] = respond_in_lines(Failing(), {"messages": [{"role": "user", "content": "Ahoy"}]})
    assert json.loads(chunk)["choices"][0]["finish_reason"] == "error"


def test_a_stop_text_may_stand_alone(client: TestClient) -> None:
    asked = {"messages": [{"role": "user", "content": "Big kettle"}], "temperature": 0}
    said = answer(client, **asked)["choices"][0]["message"]["content"]
    ended = answer(client, **asked, stop=said[4:6])["choices"][0]
    assert ended["finish_reason"] == "stop_sequence"
    assert said[4:6] not in ended["message"]["content"]


@pytest.mark.parametrize(
    "body",
    [
        "no JSON",
        "[]",
        "{}",
        '{"inputs": 7}',
        '{"inputs": ""}',
        '{"inputs": "x", "parameters": {"max_new_tokens": 0}}',
        '{"inputs": "x", "parameters": {"max_new_tokens": 100000}}',
        '{"inputs": "x", "parameters": {"temperature": "warm"}}',
        '{"messages": "hello"}',
    ],
)
def test_what_is_wrong_with_a_request_is_said_with_code_424(client: TestClient, body: str) -> None:
    response = client.post("/invocations", content=body)
    assert response.status_code == 424
    assert response.json()["code"] == 424
    assert response.json()["error"]


def test_a_llama_prompt_becomes_messages_again() -> None:
    asked = {"role": "user", "content": "Is the kettle warm?"}
    assert messages_of(LLAMA_PROMPT.format(system="Be kind.")) == [{"role": "system", "content": "Be kind."}, asked]
    assert messages_of(LLAMA_PROMPT.format(system="")) == [asked]
    assert messages_of("Is the kettle warm?") is None


def test_a_model_that_speaks_llama_31_reads_its_prompt_as_it_is(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "chat", lambda *_: pytest.fail("rendered again"))
    generator.complete(LLAMA_PROMPT.format(system=""), Parameters(max_new_tokens=1))


def test_a_model_that_does_not_gets_it_in_its_own_format(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in tiny.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    described = json.loads((other / "tokenizer.json").read_text())
    described["added_tokens"] = [token for token in described["added_tokens"] if "header" not in token["content"]]
    (other / "tokenizer.json").write_text(json.dumps(described))
    generator = Generator(other)
    asked: list[list[dict[str, str]]] = []

    def chat(messages: list[dict[str, str]], _parameters: Parameters, _on_token: OnToken) -> Answer:
        asked.append(messages)
        return Answer(text="Aye", prompt_tokens=1, tokens=[], finish_reason="eos_token")

    monkeypatch.setattr(generator, "chat", chat)
    assert generator.complete(LLAMA_PROMPT.format(system="Be kind."), Parameters()).text == "Aye"
    assert asked == [[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Is the kettle warm?"}]]


def test_the_tiny_models_template_is_llama_31s(tiny: Path) -> None:
    rendered = AutoTokenizer.from_pretrained(tiny).apply_chat_template(
        [{"role": "system", "content": " Be kind. "}, {"role": "user", "content": "Is the kettle warm?\n"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert rendered == LLAMA_PROMPT.format(system="Be kind.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ping(port: int) -> int | None:
    """The status of /ping; None while nothing listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError:
        return None


def test_the_process_is_unready_then_ready_and_ends_at_sigterm_amid_an_answer(tiny: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "rehearsal.trainer.serve", "--model-dir", str(tiny), "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        seen: list[int | None] = []
        deadline = time.monotonic() + 60
        while 200 not in seen and time.monotonic() < deadline:
            seen.append(ping(port))
            time.sleep(0.02)
        assert [status for status in dict.fromkeys(seen) if status] == [503, 200]
        body = json.dumps({"inputs": "Big kettle", "parameters": {"max_new_tokens": 8000}}).encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        assert process.returncode in {0, -signal.SIGTERM}


def test_a_folder_without_a_model_ends_the_process_with_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["serve", "--model-dir", str(tmp_path), "--port", str(free_port())])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert "cannot be loaded" in caplog.text


def test_a_server_can_end_answers_before_the_request_does(tiny: Path, generator: Generator) -> None:
    parameters = Parameters(max_new_tokens=8)
    limited, unlimited = (each.complete("Big kettle", parameters) for each in (Generator(tiny, 3), generator))
    assert (len(limited.tokens), limited.finish_reason) == (3, "length")
    assert [token.id for token in limited.tokens] == [token.id for token in unlimited.tokens[:3]]
