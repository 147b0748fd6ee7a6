"""The permissions of each function on files: uploads, runs, and JumpStart's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from finetuning.jumpstart.spec import cache_bucket, private_bucket
from finetuning.runs.layout import INBOX, MEASUREMENTS, RUNS, RunLayout
from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.isolated_network import IsolatedNetwork
from finetuning_cdk.constructs.permissions import Permissions

ANY_RUN = RunLayout("*")
"""The files of any run: its keys are patterns of S3 keys."""

UPLOADS = "Users choose the names of uploads, under these two prefixes"
EACH_RUN = "Runs are not known at deployment; their files are under runs/<run-id>/"


@dataclass(frozen=True, kw_only=True)
class StageResources:
    """The resources that permissions refer to."""

    config: StageConfig
    uploads: s3.IBucket
    artifacts: s3.IBucket
    access_logs: s3.IBucket
    key: kms.IKey
    network: IsolatedNetwork
    topic: sns.ITopic
    execution_role: iam.IRole
    import_role: iam.IRole | None
    """None in a stage that may not import models into Bedrock."""


class FilePermissions(Permissions):
    """The policy of one function, with what it may read and write in S3. It allows nothing at first."""

    def __init__(self, scope: Construct, id: str, *, resources: StageResources, description: str | None = None) -> None:
        super().__init__(scope, id, description=description)
        self._stage = resources

    def read_uploads(self) -> Self:
        """Reads the versions that an event or a plan names."""
        bucket = self._stage.uploads
        return (
            self.allow(
                "s3:GetObjectVersion",
                on=[bucket.arn_for_objects(f"{INBOX}*"), bucket.arn_for_objects(f"{RUNS}*")],
                because=UPLOADS,
            )
            .allow(
                "s3:ListBucket", on=[bucket.bucket_arn], because="Finds data files; distinguishes absent from forbidden"
            )
            .use_key(self._stage.key, "kms:Decrypt")
        )

    def find_uploads(self) -> Self:
        """Reads the present files of an upload folder, to plan with them."""
        folders = self._stage.uploads.arn_for_objects(f"{RUNS}*")
        return self.read_uploads().allow("s3:GetObject", on=[folders], because="Users choose the names of folders")

    def list_uploads(self) -> Self:
        """Lists what was uploaded when, without reading it."""
        return self.allow(
            "s3:ListBucketVersions", on=[self._stage.uploads.bucket_arn], because="Finds uploads that started no run"
        )

    def read_runs(self, *keys: str) -> Self:
        """Reads the given files of every run (patterns of `ANY_RUN`); all of them if none is given."""
        bucket = self._stage.artifacts
        objects = [bucket.arn_for_objects(key) for key in keys or (ANY_RUN.root + "*",)]
        return (
            self.allow("s3:GetObject", on=objects, because=EACH_RUN)
            # Without permission to list, S3 answers 403 for a file that does not exist yet.
            .allow("s3:ListBucket", on=[bucket.bucket_arn], because="Distinguishes absent from forbidden")
            .use_key(self._stage.key, "kms:Decrypt")
        )

    def write_runs(self, *keys: str, reading: Sequence[str] | None = None) -> Self:
        """Reads a run's files, or its plan, its status and those of `reading`; writes its status and the given keys
        (all are patterns of `ANY_RUN`).
        """
        read = () if reading is None else (ANY_RUN.plan, ANY_RUN.status, *reading)
        return self.read_runs(*read).write_files(ANY_RUN.status, *keys)

    def read_measurements(self) -> Self:
        measured = self._stage.artifacts.arn_for_objects(f"{MEASUREMENTS}*")
        return self.allow("s3:GetObject", on=[measured], because="A document for each model and instance type")

    def write_files(self, *keys: str) -> Self:
        """Writes the given keys and no others; large files in parts, which it may abort. A writer may also decrypt: S3
        needs it to join the parts.
        """
        bucket = self._stage.artifacts
        self.allow("s3:PutObject", on=[bucket.arn_for_objects(key) for key in keys], because=EACH_RUN)
        self.use_key(self._stage.key, "kms:GenerateDataKey")
        in_parts = [bucket.arn_for_objects(key) for key in keys if not key.endswith((".json", ".html"))]
        return self.allow("s3:AbortMultipartUpload", on=in_parts, because=EACH_RUN) if in_parts else self

    def empty(self, *buckets: s3.IBucket) -> Self:
        """Deletes every version of every object: for a stage that deletes its data when it is destroyed."""
        for bucket in buckets:
            self.allow("s3:ListBucketVersions", on=[bucket.bucket_arn], because="Finds every version").allow(
                "s3:DeleteObject",
                "s3:DeleteObjectVersion",
                on=[bucket.arn_for_objects("*")],
                because="The stage is configured to delete its data when it is destroyed",
            )
        return self

    def read_jumpstart(self) -> Self:
        return self._read_bucket_of_jumpstart(cache_bucket(Stack.of(self).region))

    def find_weights(self) -> Self:
        """Checks that the licensed weights are where the model's document says."""
        return self._read_bucket_of_jumpstart(private_bucket(Stack.of(self).region))

    def _read_bucket_of_jumpstart(self, jumpstart_bucket: str) -> Self:
        name = f"arn:aws:s3:::{jumpstart_bucket}"
        because = "JumpStart's documents, scripts and weights, under keys that each model's document names"
        return self.allow("s3:GetObject", on=[f"{name}/*"], because=because).allow(
            "s3:ListBucket", on=[name], because="Finds prefixes; distinguishes absent from forbidden"
        )
