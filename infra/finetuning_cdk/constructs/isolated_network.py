"""A VPC without a route to the internet, and its security groups."""

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from constructs import Construct

from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.acknowledgements import acknowledge
from finetuning_cdk.constructs.encrypted_log_group import EncryptedLogGroup
from finetuning_cdk.constructs.permissions import Permissions, service_role

HTTPS = ec2.Port.tcp(443)


class IsolatedNetwork(Construct):
    """Isolated subnets in two zones, or in those the stage sets; no internet or NAT gateway; a flow log of every
    connection.

    `jobs` is the security group of training jobs and endpoints, `functions` that of Lambda functions. Both reach
    HTTPS addresses only: without a gateway those are S3 (over its endpoint) and whatever interface endpoints exist.
    In a given `vpc` only these groups are made.
    """

    def __init__(
        self, scope: Construct, id: str, *, config: StageConfig, key: kms.IKey, vpc: ec2.IVpc | None = None
    ) -> None:
        super().__init__(scope, id)
        self.vpc: ec2.IVpc = vpc or self._vpc(config)
        self.jobs = self._security_group("Jobs", "Training jobs and endpoints")
        # The containers of a distributed job use any port, and over EFA any protocol.
        self.jobs.add_ingress_rule(self.jobs, ec2.Port.all_traffic(), "Containers of one job")
        self.jobs.add_egress_rule(self.jobs, ec2.Port.all_traffic(), "Containers of one job")
        self.functions = self._security_group("Functions", "Lambda functions")
        acknowledge(
            self.jobs,
            "EC2RestrictedCommonPorts",
            because="The group is open to its own members only: containers of one distributed training job",
        )
        if vpc is None:
            self._log_connections(config, key)

    @property
    def subnets(self) -> ec2.SubnetSelection:
        """Those of functions, jobs and endpoints. Not by their type: a VPC without them is an error of its own."""
        return ec2.SubnetSelection(subnets=self.vpc.isolated_subnets)

    def _vpc(self, config: StageConfig) -> ec2.Vpc:
        vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(config.vpc_cidr),
            availability_zones=list(config.availability_zones) or None,
            max_azs=None if config.availability_zones else 2,
            nat_gateways=0,
            create_internet_gateway=False,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="Isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=24)
            ],
        )
        acknowledge(
            vpc,
            "VPCDefaultSecurityGroupClosed",
            because="Nothing uses the default group; closing it needs a custom resource, and the VPC has no route out",
        )
        return vpc

    def _security_group(self, id: str, description: str) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(self, id, vpc=self.vpc, description=description, allow_all_outbound=False)
        group.add_egress_rule(ec2.Peer.any_ipv4(), HTTPS, "VPC endpoints; there is no other route")
        return group

    def _log_connections(self, config: StageConfig, key: kms.IKey) -> None:
        log_group = EncryptedLogGroup(self, "FlowLogs", config=config, key=key)
        permissions = Permissions(self, "FlowLogPermissions").allow(
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "logs:DescribeLogStreams",
            on=[log_group.log_group_arn],
            because="Streams of the flow log's own group; they are named after network interfaces",
        )
        role = service_role(self, "FlowLogRole", service="vpc-flow-logs.amazonaws.com", permissions=permissions)
        ec2.CfnFlowLog(
            self,
            "FlowLog",
            resource_id=self.vpc.vpc_id,
            resource_type="VPC",
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_group_name=log_group.log_group_name,
            deliver_logs_permission_arn=role.role_arn,
        )
