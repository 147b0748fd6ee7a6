"""Import jobs and imported models.

A job takes a moment, reads the model's files with the role it was given, and fails for what Bedrock does not import.
Not rehearsed: the time an import takes, the conversion, and the words of its failures, which AWS does not document.
"""

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from rehearsal.emulator.account import MOST_IMPORTED_MODELS, MOST_IMPORTS_AT_ONCE
from rehearsal.emulator.bedrock.converse import has_chat_template
from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.faults import Fault
from rehearsal.emulator.identity import ACCOUNT
from rehearsal.emulator.sagemaker import checks
from rehearsal.emulator.sagemaker.errors import Refused

IMPORT_SECONDS = 2
ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
DTYPES = ("float16", "bfloat16", "float32")
UNITS = {"customModelUnitsPerModelCopy": 1, "customModelUnitsVersion": "v1.0"}
"""Not the 2 that an 8B model is assumed to take, so that a run corrects its price."""


class Imports:
    """The import jobs and imported models of the account, with their tags."""

    def __init__(self, context: EmulatorContext) -> None:
        self._world = context
        self._lock = threading.Lock()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.folders: dict[str, Path] = {}
        """Of each model, by its ARN: its files on this machine."""
        self._by_token: dict[str, str] = {}

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        """CreateModelImportJob."""
        name, job_name = request["importedModelName"], request["jobName"]
        with self._lock:
            if known := self._by_token.get(request.get("clientRequestToken", "")):
                return {"jobArn": known}
            if message := self._world.faults.take(Fault.IMPORT_QUOTA, name):
                raise Refused("ServiceQuotaExceededException", message)
            unfinished = [job for job in self.jobs.values() if job["status"] == "InProgress"]
            if len(unfinished) >= MOST_IMPORTS_AT_ONCE:
                said = f"You have reached the quota of {MOST_IMPORTS_AT_ONCE} concurrent model import jobs."
                raise Refused("ServiceQuotaExceededException", said)
            if len(self.models) + len(unfinished) >= MOST_IMPORTED_MODELS:
                said = f"You have reached the quota of {MOST_IMPORTED_MODELS} imported models per account."
                raise Refused("ServiceQuotaExceededException", said)
            names = {model["modelName"] for model in self.models.values()}
            names |= {job["importedModelName"] for job in unfinished}
            if name in names or job_name in {job["jobName"] for job in self.jobs.values()}:
                raise Refused("ConflictException", f"{name} or {job_name} already exists.", status=409)
            now, arn = datetime.now(UTC), self._arn("model-import-job")
            kept = ("jobName", "importedModelName", "roleArn", "modelDataSource", "vpcConfig")
            job = {member: request[member] for member in kept if member in request}
            self.jobs[arn] = {
                **job, "jobArn": arn, "status": "InProgress", "creationTime": now, "lastModifiedTime": now,
            }  # fmt: skip
            self.tags[arn] = _tags(request.get("jobTags", []))
            if token := request.get("clientRequestToken"):
                self._by_token[token] = arn
        threading.Thread(target=self._run, args=(self.jobs[arn], request), daemon=True).start()
        return {"jobArn": arn}

    def _run(self, job: dict[str, Any], request: dict[str, Any]) -> None:
        name = job["importedModelName"]
        held = self._world.faults.hold(Fault.IMPORT_HANGS, name)
        time.sleep(IMPORT_SECONDS)
        held.wait()
        failure = self._world.faults.take(Fault.IMPORT_FAILS, name)
        folder = self._world.state / "imported" / uuid.uuid4().hex
        if failure is None:
            failure = self._fetch(request, folder) or _unsupported(folder)
        now = datetime.now(UTC)
        if failure:
            job |= {"failureMessage": failure, "endTime": now, "lastModifiedTime": now, "status": "Failed"}
            return
        arn, config = self._arn("imported-model"), json.loads((folder / "config.json").read_text())
        with self._lock:
            self.folders[arn] = folder
            self.tags[arn] = _tags(request.get("importedModelTags", []))
            self.models[arn] = {
                "modelArn": arn,
                "modelName": name,
                "jobName": job["jobName"],
                "jobArn": job["jobArn"],
                "modelDataSource": request["modelDataSource"],
                "creationTime": now,
                "modelArchitecture": config["architectures"][0],
                "instructSupported": has_chat_template(folder),
                "customModelUnits": UNITS,
                **({"modelKmsKeyArn": request["importedModelKmsKeyId"]} if "importedModelKmsKeyId" in request else {}),
            }
            job |= {"importedModelArn": arn, "endTime": now, "lastModifiedTime": now, "status": "Completed"}

    def _fetch(self, request: dict[str, Any], folder: Path) -> str | None:
        """Downloads the model's files as the job's role; why it cannot, if it cannot."""
        uri, role = request["modelDataSource"]["s3DataSource"]["s3Uri"], request["roleArn"]
        if refused := _not_assumable(self._world, role):
            return refused
        s3 = self._world.client("s3", role)
        bucket, prefix = checks.split_uri(uri)
        try:
            for key in checks.objects(s3, uri):
                target = folder / key.removeprefix(prefix).lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(bucket, key, str(target))
        except ClientError as error:
            return f"Access denied while reading {uri} with the role {role}: {error}"
        return None if folder.exists() else f"No model files found at {uri}."

    def describe_job(self, identifier: str) -> dict[str, Any]:
        return _found(self.jobs, "jobName", identifier, "model import job")

    def list_jobs(self, query: dict[str, Any]) -> dict[str, Any]:
        members = (
            "jobArn", "jobName", "status", "lastModifiedTime", "creationTime", "endTime", "importedModelArn",
            "importedModelName",
        )  # fmt: skip
        return {"modelImportJobSummaries": _listed(self.jobs, "jobName", members, query)}

    def describe_model(self, identifier: str) -> dict[str, Any]:
        return _found(self.models, "modelName", identifier, "imported model")

    def list_models(self, query: dict[str, Any]) -> dict[str, Any]:
        members = ("modelArn", "modelName", "creationTime", "instructSupported", "modelArchitecture")
        return {"modelSummaries": _listed(self.models, "modelName", members, query)}

    def delete_model(self, identifier: str) -> dict[str, Any]:
        arn = self.describe_model(identifier)["modelArn"]
        with self._lock:
            del self.models[arn], self.tags[arn]
        return {}

    def tag(self, request: dict[str, Any]) -> dict[str, Any]:
        self._tags_of(request).update(_tags(request["tags"]))
        return {}

    def list_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"tags": [{"key": key, "value": value} for key, value in self._tags_of(request).items()]}

    def costing(self) -> Iterator[dict[str, Any]]:
        """Every imported model: it is stored, and loaded whenever it is called. A job costs nothing by itself."""
        for arn, model in list(self.models.items()):
            yield {
                "kind": "imported model",
                "name": model["modelName"],
                "arn": arn,
                "status": "Imported",
                "instance_type": "custom model unit",
                "instances": UNITS["customModelUnitsPerModelCopy"],
                "tags": self.tags.get(arn, {}),
            }

    def _tags_of(self, request: dict[str, Any]) -> dict[str, str]:
        arn = request["resourceARN"]
        if arn not in self.tags:
            raise Refused("ResourceNotFoundException", f"The resource {arn} was not found.", status=404)
        return self.tags[arn]

    def _arn(self, kind: str) -> str:
        identifier = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=12))  # noqa: S311 — no secret
        return f"arn:aws:bedrock:{self._world.region}:{ACCOUNT}:{kind}/{identifier}"


def _tags(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in tags}


def _found(things: dict[str, dict[str, Any]], member: str, identifier: str, noun: str) -> dict[str, Any]:
    named = [thing for arn, thing in things.items() if identifier in (arn, thing[member])]
    if not named:
        raise Refused("ResourceNotFoundException", f"The {noun} {identifier} was not found.", status=404)
    return named[-1]


def _listed(
    things: dict[str, dict[str, Any]], member: str, members: tuple[str, ...], query: dict[str, Any]
) -> list[dict[str, Any]]:
    """Those with the part of a name and the status that the query asks for, the newest first."""
    part, status = _first(query.get("nameContains", "")), _first(query.get("statusEquals"))
    found = [
        thing for thing in list(things.values()) if part in thing[member] and status in (None, thing.get("status"))
    ]
    found.sort(key=lambda thing: thing["creationTime"], reverse=_first(query.get("sortOrder")) != "Ascending")
    return [{each: thing[each] for each in members if each in thing} for thing in found]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _not_assumable(context: EmulatorContext, role_arn: str) -> str | None:
    """Why Bedrock cannot assume the role; None if it can."""
    name = role_arn.rsplit("/", 1)[-1]
    try:
        trust = json.dumps(context.client("iam").get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"])
    except ClientError:
        return f"Could not assume the role {role_arn}: it does not exist."
    if "bedrock.amazonaws.com" not in trust or "model-import-job/" not in trust or ACCOUNT not in trust:
        return f"Could not assume the role {role_arn}: its trust policy does not allow model import jobs to."
    return None


def _unsupported(folder: Path) -> str | None:
    """Why Bedrock does not import these files; None if it does."""
    config_file = folder / "config.json"
    if not config_file.exists() or not any(folder.glob("*.safetensors")):
        return "The model's files are not supported: config.json and safetensors files are required."
    config = json.loads(config_file.read_text())
    architecture = (config.get("architectures") or ["none"])[0]
    if architecture not in ARCHITECTURES:
        return f"The model architecture {architecture} is not supported."
    dtype = config.get("dtype", config.get("torch_dtype"))
    if dtype not in DTYPES:
        return f"The data type {dtype} is not supported."
    return None
