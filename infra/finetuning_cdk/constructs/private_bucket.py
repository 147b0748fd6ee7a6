"""A bucket of the stage: private, versioned, TLS only."""

from aws_cdk import Duration
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.acknowledgements import acknowledge


class PrivateBucket(s3.Bucket):
    """A bucket without access from other accounts, unless statements for them are added. Old versions expire after 30
    days, unfinished uploads after two.

    Without a `key` it is encrypted with S3's own key, as a destination of access logs must be.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: StageConfig,
        key: kms.IKey | None = None,
        access_logs: s3.IBucket | None = None,
        expire_after: Duration | None = None,
    ) -> None:
        super().__init__(
            scope,
            id,
            encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
            encryption_key=key,
            bucket_key_enabled=True if key else None,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            versioned=True,
            server_access_logs_bucket=access_logs,
            server_access_logs_prefix=f"{id}/" if access_logs else None,
            removal_policy=config.removal_policy,
            lifecycle_rules=[
                s3.LifecycleRule(
                    expiration=expire_after,
                    noncurrent_version_expiration=Duration.days(30),
                    abort_incomplete_multipart_upload_after=Duration.days(2),
                )
            ],
        )
        acknowledge(
            self,
            "S3BucketReplicationEnabled",
            because="Uploads are copies and everything else can be computed again; versions protect against deletion",
        )

    def send_events(self) -> None:
        """Sends the bucket's events to EventBridge by the native property: CDK's option adds a function for it."""
        bucket = self.node.default_child
        assert isinstance(bucket, s3.CfnBucket)
        bucket.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
        )
