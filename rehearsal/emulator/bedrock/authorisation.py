"""What IAM is asked about a Bedrock call: resource, condition keys, and the further actions that it takes.

Source: the Service Authorization Reference of Bedrock. Jobs and imported models have ARNs that Bedrock chooses, so that
policies name them by their tags; a call on what does not exist has no tags, and is denied by such a policy.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from ministack.services.bedrock import _INFERENCE_PROFILE_PREFIXES

from rehearsal.emulator.identity import ACCOUNT
from rehearsal.emulator.sagemaker.authorisation import Request, parsed


def resource(path: str, body: bytes, region: str) -> str:
    """ARN of what the call acts on; `*` for a list, and for an import, which makes something new."""
    kind, _, rest = unquote(path).strip("/").partition("/")
    if kind in ("imported-models", "model-import-jobs") and rest:
        return rest if rest.startswith("arn:") else f"arn:aws:bedrock:{region}:{ACCOUNT}:{kind[:-1]}/{rest}"
    if kind == "inference-profiles":
        return profile_arn(rest, region)
    if kind in ("model", "foundation-models"):
        model = rest.rpartition("/")[0] if kind == "model" else rest
        if model.startswith("arn:"):
            return model
        return profile_arn(model, region) if behind(model) else f"arn:aws:bedrock:{region}::foundation-model/{model}"
    return str(parsed(body).get("resourceARN", "*"))


def behind(profile: str) -> str | None:
    """The model that an inference profile calls; None for the id of a model."""
    prefix, _, model = profile.partition(".")
    return model if prefix in _INFERENCE_PROFILE_PREFIXES else None


def profile_arn(profile: str, region: str) -> str:
    return f"arn:aws:bedrock:{region}:{ACCOUNT}:inference-profile/{profile}"


def conditions(body: bytes) -> dict[str, Any]:
    """The condition keys of the tags in a request. Both the job's and the model's count: where they differ, a policy
    that names one value matches neither.
    """
    request = parsed(body)
    given: dict[str, set[str]] = {}
    for member in ("jobTags", "importedModelTags", "tags"):
        for tag in request.get(member, []):
            given.setdefault(str(tag["key"]), set()).add(str(tag["value"]))
    if not given:
        return {}
    values = {f"aws:requesttag/{key}".lower(): " or ".join(sorted(values)) for key, values in given.items()}
    return {**values, "aws:TagKeys": list(given)}


def further(operation: str, request: Request, region: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Action, resource and condition keys of each other permission that Bedrock asks the caller for."""
    if operation != "CreateModelImportJob":
        return
    yield "iam:PassRole", str(request["roleArn"]), {"iam:PassedToService": "bedrock.amazonaws.com"}
    keys = conditions(json.dumps(request).encode())
    for member, kind in (("jobTags", "model-import-job"), ("importedModelTags", "imported-model")):
        if request.get(member):
            yield "bedrock:TagResource", f"arn:aws:bedrock:{region}:{ACCOUNT}:{kind}/any", keys
    if key := request.get("importedModelKmsKeyId"):
        via = {"kms:ViaService": f"bedrock.{region}.amazonaws.com", "kms:GrantIsForAWSResource": "true"}
        for action in ("kms:CreateGrant", "kms:DescribeKey", "kms:GenerateDataKey", "kms:Decrypt"):
            yield action, str(key), via
