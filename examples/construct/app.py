"""Fine-tuning in an app of your own, in its network, with its key and its bucket.

`pip install "finetune-llama-on-aws[cdk]"` installs what it needs; docs/reuse.md explains it.
"""

from aws_cdk import App, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs

from finetuning_cdk import FineTuning

app = App()

# What the app has already. Another app's resources are imported instead: ec2.Vpc.from_lookup, kms.Key.from_key_arn …
platform = Stack(app, "Platform")
isolated = ec2.SubnetConfiguration(name="Isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
to_s3 = ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)
vpc = ec2.Vpc(
    platform, "Vpc", max_azs=2, nat_gateways=0, subnet_configuration=[isolated], gateway_endpoints={"S3": to_s3}
)
key = kms.Key(platform, "Key", enable_key_rotation=True)
uploads = s3.Bucket(
    platform,
    "Uploads",
    encryption_key=key,
    versioned=True,
    event_bridge_enabled=True,
    enforce_ssl=True,
    block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
)

# Ten lines: a stage, what your application and your people may do with it, and its notifications.
tuning = FineTuning(
    app, "FineTuning", stage="alice", profile="dev", vpc=vpc, key=key, uploads=uploads, accept_eula=True
)
application = Stack(app, "Application")
service = iam.Role(application, "Service", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"))
tuning.grant_invoke(service)
team = iam.Role(application, "Team", assumed_by=iam.AccountRootPrincipal(), managed_policies=[tuning.data_scientist])
ended = sqs.Queue(application, "Ended", enforce_ssl=True)
tuning.on_run_ended(events.Rule(application, "RunEnded", targets=[targets.SqsQueue(ended)]))
tuning.metric_runs_failed().create_alarm(application, "RunsFailed", threshold=1, evaluation_periods=1)

app.synth()
