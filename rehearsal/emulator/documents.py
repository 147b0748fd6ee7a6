"""JumpStart's documents as another version could be: faults that change what is read of them, not what is stored."""

import copy
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from rehearsal.emulator import functions
from rehearsal.emulator.faults import Fault, Faults

Application = Callable[..., Awaitable[None]]
Document = dict[str, Any]
_SPECIFICATION = "/community_models/"
_DRAFT_MODEL = {
    "speculative_decoding": [
        {
            "channel_name": "draft_model",
            "hosting_eula_key": "fmhMetadata/eula/llama3_2Eula.txt",
            "s3_data_source": {
                "compression_type": "None",
                "s3_data_type": "S3Prefix",
                "s3_uri": "meta-textgeneration/meta-textgeneration-llama-3-2-1b/artifacts/inference-prepack/v1.0.0/",
            },
        }
    ]
}
"""As the published document of Llama 3.1 70B states it."""


def without_output_compression(document: Document) -> None:
    document["estimator_kwargs"].pop("disable_output_compression", None)


def with_optimised_configuration_first(document: Document) -> None:
    """Speculative decoding ranked first; it is made of the plain configuration where the document has none."""
    name, plain = "lmi-optimized", "lmi"
    document["inference_config_rankings"]["overall"]["rankings"] = [name, plain]
    if name in document["inference_configs"]:
        return
    component = copy.deepcopy(document["inference_config_components"][plain])
    component["hosting_additional_data_sources"] = _DRAFT_MODEL
    component["inference_environment_variables"].append(
        {
            "name": "OPTION_SPECULATIVE_DRAFT_MODEL",
            "default": "/opt/ml/additional-model-data-sources/draft_model",
            "required_for_model_class": True,
            "scope": "container",
            "type": "text",
        }
    )
    document["inference_config_components"][name] = component
    document["inference_configs"][name] = {"component_names": [name]}


_CHANGES = {
    Fault.GZIP_OUTPUT: without_output_compression,
    Fault.OPTIMISED_CONFIG_FIRST: with_optimised_configuration_first,
}


def changed(application: Application, faults: Faults) -> Application:
    """The ASGI application, where a specification that is read can be another one than is stored."""

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope.get("method") != "GET" or _SPECIFICATION not in scope.get("path", ""):
            await application(scope, receive, send)
            return
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode()
        read = f"{functions.calling(authorization)} {scope['path']}"
        changes = [change for fault, change in _CHANGES.items() if faults.take(fault, read)]
        if not changes:
            await application(scope, receive, send)
            return
        messages: list[dict[str, Any]] = []

        async def hold(message: dict[str, Any]) -> None:
            messages.append(message)

        await application(scope, receive, hold)
        if messages[0]["status"] != HTTPStatus.OK:
            for message in messages:
                await send(message)
            return
        document = json.loads(b"".join(message.get("body", b"") for message in messages))
        for change in changes:
            change(document)
        body = json.dumps(document).encode()
        kept = [
            (name, value)
            for name, value in messages[0]["headers"]
            if not name.lower().startswith((b"content-length", b"x-amz-checksum"))
        ]
        await send({**messages[0], "headers": [*kept, (b"content-length", str(len(body)).encode())]})
        await send({"type": "http.response.body", "body": body})

    return answer
