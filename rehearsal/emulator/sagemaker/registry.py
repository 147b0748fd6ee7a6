"""The model registry: groups of model packages, versioned.

A policy of a group lets other accounts in (`elsewhere`). Not rehearsed: the validation of a package's container and
artefact.
"""

import threading
from datetime import UTC, datetime
from typing import Any

from ministack.core import iam_evaluator

from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.sagemaker.errors import Refused, invalid


class ModelRegistry:
    """The account's groups and packages. Only packages that belong to a group: versions."""

    def __init__(self, context: EmulatorContext) -> None:
        self._world = context
        self._groups: dict[str, dict[str, Any]] = {}
        self._packages: dict[str, dict[str, Any]] = {}
        self._tokens: dict[str, str] = {}
        self._policies: dict[str, str] = {}
        self._lock = threading.Lock()

    def create_group(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["ModelPackageGroupName"]
        arn = self._world.arn("model-package-group", name)
        if name in self._groups:
            raise invalid(f"Model Package Group already exists: {arn}")
        self._groups[name] = {
            "ModelPackageGroupName": name,
            "ModelPackageGroupArn": arn,
            "CreationTime": datetime.now(UTC),
            "ModelPackageGroupStatus": "Completed",
            "CreatedBy": {},
            **{k: v for k, v in request.items() if k == "ModelPackageGroupDescription"},
        }
        return {"ModelPackageGroupArn": arn}

    def describe_group(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["ModelPackageGroupName"].rpartition("/")[2]
        if name not in self._groups:
            raise invalid(f"ModelPackageGroup {self._world.arn('model-package-group', name)} does not exist.")
        return self._groups[name]

    def delete_group(self, request: dict[str, Any]) -> dict[str, Any]:
        name = self.describe_group(request)["ModelPackageGroupName"]
        if self._of(name):
            raise Refused("ConflictException", f"Model Package Group {name} cannot be deleted: it has model packages.")
        del self._groups[name]
        self._policies.pop(name, None)
        return {}

    def put_policy(self, request: dict[str, Any]) -> dict[str, Any]:
        group = self.describe_group(request)
        if wrong := iam_evaluator.validate_policy_document(request["ResourcePolicy"]):
            raise invalid(f"Invalid resource policy: {wrong}")
        self._policies[group["ModelPackageGroupName"]] = request["ResourcePolicy"]
        return {"ModelPackageGroupArn": group["ModelPackageGroupArn"]}

    def policy(self, group: str) -> str | None:
        """The group's policy, "" if it has none; None without such a group. ARNs have its name in small letters."""
        names = {name.lower(): name for name in self._groups}
        return self._policies.get(names[group], "") if group in names else None

    def create_package(self, request: dict[str, Any]) -> dict[str, Any]:
        if "ModelPackageGroupName" not in request:
            raise invalid("The rehearsal registers versions of a model package group only.")
        if request.get("Tags"):
            raise invalid("Tags are not allowed for a versioned model package: it has its group's.")
        group = self.describe_group(request)["ModelPackageGroupName"]
        for container in request.get("InferenceSpecification", {}).get("Containers", []):
            source = container.get("ModelDataSource", {}).get("S3DataSource", {})
            if source.get("S3DataType") == "S3Prefix" and not source["S3Uri"].endswith("/"):
                raise invalid(f"S3Uri {source['S3Uri']} of an uncompressed model must end in a forward slash.")
        with self._lock:
            if arn := self._tokens.get(request.get("ClientToken", "")):
                return {"ModelPackageArn": arn}
            version = 1 + max((package["ModelPackageVersion"] for package in self._of(group)), default=0)
            arn = f"{self._world.arn('model-package', group)}/{version}"
            self._packages[arn] = {
                **{key: value for key, value in request.items() if key != "ClientToken"},
                "ModelPackageArn": arn,
                "ModelPackageVersion": version,
                "ModelPackageStatus": "Completed",
                "CreationTime": datetime.now(UTC),
            }
            self._tokens[request.get("ClientToken", arn)] = arn
        return {"ModelPackageArn": arn}

    def describe_package(self, request: dict[str, Any]) -> dict[str, Any]:
        if package := self._packages.get(request["ModelPackageName"]):
            return package
        raise invalid(f"ModelPackage {request['ModelPackageName']} does not exist.")

    def update_package(self, request: dict[str, Any]) -> dict[str, Any]:
        package = self.describe_package({"ModelPackageName": request["ModelPackageArn"]})
        package |= {k: v for k, v in request.items() if k in ("ModelApprovalStatus", "ApprovalDescription")}
        package.setdefault("CustomerMetadataProperties", {}).update(request.get("CustomerMetadataProperties", {}))
        return {"ModelPackageArn": package["ModelPackageArn"]}

    def delete_package(self, request: dict[str, Any]) -> dict[str, Any]:
        del self._packages[self.describe_package(request)["ModelPackageArn"]]
        return {}

    def group_summaries(self) -> list[dict[str, Any]]:
        members = ("ModelPackageGroupName", "ModelPackageGroupArn", "CreationTime", "ModelPackageGroupStatus")
        return [{member: group[member] for member in members} for group in self._groups.values()]

    def list_packages(self, request: dict[str, Any]) -> dict[str, Any]:
        """The versions of a group, in one page, the latest first."""
        found = self._of(self.describe_group(request)["ModelPackageGroupName"])
        members = (
            "ModelPackageGroupName",
            "ModelPackageVersion",
            "ModelPackageArn",
            "CreationTime",
            "ModelPackageStatus",
            "ModelApprovalStatus",
        )
        found.sort(key=lambda package: package["CreationTime"], reverse=True)
        return {"ModelPackageSummaryList": [{m: p[m] for m in members if m in p} for p in found]}

    def _of(self, group: str) -> list[dict[str, Any]]:
        return [package for package in self._packages.values() if package["ModelPackageGroupName"] == group]
