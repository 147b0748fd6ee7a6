"""Converse, for a judge: a model of Bedrock's catalogue that compares two answers and replies with one word.

The judge reads both answers: the one that shares more of the reference's words in order is better, or of the prompt's
without a reference. As real judges do, it prefers the answer that stands first, if the two are nearly as good.

Not rehearsed: what a language model would say, other questions, streams, tools, guardrails and quotas.
"""

import json
import time
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

from ministack.services import bedrock

from rehearsal.emulator.bedrock import converse
from rehearsal.emulator.bedrock.authorisation import behind, profile_arn
from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.faults import Fault
from rehearsal.emulator.sagemaker.errors import Refused

FIRST_PLACE = 0.1
"""How much better the second answer must be before the judge prefers it."""
OTHER_REGION = "us-west-2"
"""Where an inference profile may answer from, besides the caller's region."""


class JudgeRuntime:
    """Answers for every text model of the emulated catalogue that the account has access to."""

    def __init__(self, context: EmulatorContext) -> None:
        self._world = context

    def converse(self, judge: str, request: dict[str, Any], caller: str) -> dict[str, Any]:
        """The response of Converse. `caller`: the function that asks."""
        started = time.monotonic()
        described = f"Converse {judge} {json.dumps(request, ensure_ascii=False)} {caller}"
        faults = self._world.faults
        if message := faults.take(Fault.THROTTLING, described):
            raise Refused("ThrottlingException", f"Too many requests: {message}", status=429)
        if message := faults.take(Fault.JUDGE_DENIED, described):
            raise Refused("AccessDeniedException", message, status=403)
        _require_access(judge)
        converse.require_valid(judge, request)
        text = "".join(part["text"] for message in request["messages"] for part in message["content"])
        said = faults.take(Fault.JUDGE_GARBAGE, described) or _preferred(_pair(text))
        return converse.response(said, "end_turn", (len(text) // 4, 1), started)

    def resources(self, judge: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What IAM is asked for besides: each model that a profile may call, with the key that names the profile."""
        if model := behind(judge):
            keys = {"bedrock:InferenceProfileArn": profile_arn(judge, self._world.region)}
            for region in (self._world.region, OTHER_REGION):
                yield f"arn:aws:bedrock:{region}::foundation-model/{model}", keys


def _require_access(judge: str) -> None:
    model = behind(judge) or judge
    if bedrock._find_model(model) is None:
        raise Refused("ValidationException", "The provided model identifier is invalid.")
    _, _, body = bedrock._get_foundation_model_availability(model)
    if json.loads(body)["agreementAvailability"]["status"] != "AVAILABLE":
        raise Refused("AccessDeniedException", f"You don't have access to the model {model}.", status=403)


def _pair(text: str) -> dict[str, str]:
    """The JSON object at the end of the question."""
    try:
        pair: dict[str, str] = json.loads(text[text.index("\n\n{") :])
        return {"prompt": pair["prompt"], "A": pair["A"], "B": pair["B"], "reference": pair.get("reference", "")}
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("ModelErrorException", f"this judge compares two answers only: {error}", status=424) from error


def _preferred(pair: dict[str, str]) -> str:
    wanted = (pair["reference"] or pair["prompt"]).split()
    first, second = (SequenceMatcher(None, pair[name].split(), wanted, autojunk=False).ratio() for name in ("A", "B"))
    if first == second:
        return "tie"
    return "B" if second - first > FIRST_PLACE else "A"
