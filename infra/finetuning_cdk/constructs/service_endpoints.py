"""The VPC endpoints: private addresses of AWS APIs."""

from collections.abc import Mapping, Sequence

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from finetuning.jumpstart.spec import cache_bucket, private_bucket
from finetuning_cdk.constructs.file_permissions import ANY_RUN
from finetuning_cdk.constructs.isolated_network import HTTPS, IsolatedNetwork
from finetuning_cdk.constructs.promotion_grants import MODEL_FILES

ANYONE = iam.AnyPrincipal()


class S3Endpoint(Construct):
    """The gateway to S3 on every route table, for the stage's buckets and the buckets of AWS that are needed.
    `promote_from`: the bucket of another account from which models are copied.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        vpc: ec2.IVpc,
        buckets: Sequence[s3.IBucket],
        promote_from: str | None,
    ) -> None:
        super().__init__(scope, id)
        region = Stack.of(self).region
        endpoint = vpc.add_gateway_endpoint(id, service=ec2.GatewayVpcEndpointAwsService.S3)
        for statement in (
            iam.PolicyStatement(
                sid="BucketsOfThisStage",
                principals=[ANYONE],
                actions=[
                    "s3:GetObject*",
                    "s3:PutObject*",
                    "s3:DeleteObject*",
                    "s3:AbortMultipartUpload",
                    "s3:ListMultipartUploadParts",
                    "s3:ListBucket*",
                    "s3:GetBucketLocation",
                ],
                resources=[arn for bucket in buckets for arn in (bucket.bucket_arn, bucket.arn_for_objects("*"))],
            ),
            iam.PolicyStatement(
                sid="ModelsAndImagesOfAws",
                principals=[ANYONE],
                actions=["s3:GetObject", "s3:ListBucket"],
                resources=[
                    arn
                    for name in (
                        cache_bucket(region),
                        private_bucket(region),
                        f"prod-{region}-starport-layer-bucket",
                    )
                    for arn in (f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*")
                ],
            ),
        ):
            endpoint.add_to_policy(statement)
        if promote_from:
            endpoint.add_to_policy(
                iam.PolicyStatement(
                    sid="ModelsToPromote",
                    principals=[ANYONE],
                    actions=["s3:GetObject", "s3:GetObjectVersion"],
                    resources=[f"arn:aws:s3:::{promote_from}/{key}" for key in (ANY_RUN.release, MODEL_FILES)],
                )
            )


class InterfaceEndpoints(Construct):
    """Endpoints of the other services, for principals of this account only. SageMaker fetches images and writes logs by
    a network of its own.
    """

    def __init__(self, scope: Construct, id: str, *, network: IsolatedNetwork, services: Mapping[str, str]) -> None:
        super().__init__(scope, id)
        vpc = network.vpc
        group = ec2.SecurityGroup(
            self, "SecurityGroup", vpc=vpc, description="Interface endpoints", allow_all_outbound=False
        )
        group.add_ingress_rule(network.functions, HTTPS, "Lambda functions")
        group.add_ingress_rule(network.jobs, HTTPS, "Training jobs and endpoints")
        for name, service in services.items():
            endpoint = ec2.InterfaceVpcEndpoint(
                self,
                name,
                vpc=vpc,
                service=ec2.InterfaceVpcEndpointAwsService(service),
                security_groups=[group],
                open=False,
                private_dns_enabled=True,
            )
            endpoint.add_to_policy(
                iam.PolicyStatement(
                    principals=[ANYONE],
                    actions=["*"],
                    resources=["*"],
                    conditions={"StringEquals": {"aws:PrincipalAccount": Stack.of(self).account}},
                )
            )
