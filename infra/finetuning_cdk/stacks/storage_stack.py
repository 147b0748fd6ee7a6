"""The stack with all data: the key, the uploads, the artifacts."""

from typing import Any

from aws_cdk import Duration, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.acknowledgements import acknowledge
from finetuning_cdk.constructs.private_bucket import PrivateBucket
from finetuning_cdk.constructs.promotion_grants import grant_models
from finetuning_cdk.constructs.stage_key import StageKey


class StorageStack(Stack):
    """The stage's key; the bucket users upload to; the bucket runs write to; the bucket for the access logs of both.

    Uploads and results are in separate buckets, so that nothing a run writes can start another run. `key` and `uploads`
    take the place of the stage's own; `own_buckets` are those of this stack, the access logs last: emptying the others
    is logged as well.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: StageConfig,
        key: kms.IKey | None = None,
        uploads: s3.IBucket | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self.key: kms.IKey = key or StageKey(self, "Key", config=config)
        self.access_logs = PrivateBucket(self, "AccessLogs", config=config, expire_after=Duration.days(365))
        self.uploads: s3.IBucket = uploads or self._uploads(config)
        self.artifacts = PrivateBucket(self, "Artifacts", config=config, key=self.key, access_logs=self.access_logs)
        grant_models(self.artifacts, config)
        self.own_buckets: list[s3.IBucket] = [*([] if uploads else [self.uploads]), self.artifacts, self.access_logs]
        # In every stage, though only one that empties its buckets imports them: this stack is deployed before the
        # others, and CloudFormation removes no export that is still imported.
        self.export_value(self.access_logs.bucket_arn)
        self.export_value(self.access_logs.bucket_name)
        acknowledge(
            self.access_logs,
            "AwsSolutions-S1",
            "S3BucketLoggingEnabled",
            because="It is the destination of the access logs: logging its own accesses there would never stop",
        )
        acknowledge(
            self.access_logs,
            "S3DefaultEncryptionKMS",
            because="S3 delivers access logs only to a bucket that is encrypted with S3's own keys",
        )

    def _uploads(self, config: StageConfig) -> PrivateBucket:
        uploads = PrivateBucket(self, "Uploads", config=config, key=self.key, access_logs=self.access_logs)
        uploads.send_events()
        return uploads
