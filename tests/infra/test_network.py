import json

from aws_cdk.assertions import Match

from tests.infra.synthesis import Synthesised

GATEWAYS = ("AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::EgressOnlyInternetGateway")


def test_the_network_has_no_route_to_the_internet(stage: Synthesised) -> None:
    for type in GATEWAYS:
        stage.templates["network"].resource_count_is(type, 0)
    stage.templates["network"].resource_count_is("AWS::EC2::Route", 0)


def test_the_subnets_are_in_two_zones(stage: Synthesised) -> None:
    subnets = stage.resources("AWS::EC2::Subnet").values()
    assert len({json.dumps(subnet["Properties"]["AvailabilityZone"]) for subnet in subnets}) == 2


def test_the_subnets_are_in_the_zones_that_are_configured(with_options: Synthesised) -> None:
    subnets = with_options.resources("AWS::EC2::Subnet").values()
    zones = [subnet["Properties"]["AvailabilityZone"] for subnet in subnets]
    assert zones == ["us-east-1b", "us-east-1d", "us-east-1f"]


def test_s3_is_reachable_from_every_subnet(stage: Synthesised) -> None:
    (endpoint,) = [
        e for e in stage.resources("AWS::EC2::VPCEndpoint").values() if e["Properties"]["VpcEndpointType"] == "Gateway"
    ]
    tables = {table["Ref"] for table in endpoint["Properties"]["RouteTableIds"]}
    assert tables == set(stage.resources("AWS::EC2::RouteTable"))


def test_the_s3_endpoint_allows_named_buckets_only(stage: Synthesised) -> None:
    (endpoint,) = [
        e for e in stage.resources("AWS::EC2::VPCEndpoint").values() if e["Properties"]["VpcEndpointType"] == "Gateway"
    ]
    for statement in endpoint["Properties"]["PolicyDocument"]["Statement"]:
        assert statement["Resource"] != "*"
    text = json.dumps(endpoint)
    assert all(name in text for name in ("jumpstart-cache-prod-", "jumpstart-private-cache-prod-"))


def test_dev_pays_for_no_interface_endpoints(dev: Synthesised) -> None:
    assert len(dev.resources("AWS::EC2::VPCEndpoint")) == 1


def test_prod_reaches_every_service_its_functions_call_privately(prod: Synthesised) -> None:
    template = prod.templates["network"]
    for service in (
        "sagemaker.api",
        "sagemaker.runtime",
        "logs",
        "monitoring",
        "kms",
        "sns",
        "states",
        "servicequotas",
    ):
        template.has_resource_properties(
            "AWS::EC2::VPCEndpoint",
            {
                "VpcEndpointType": "Interface",
                "PrivateDnsEnabled": True,
                "ServiceName": {"Fn::Join": ["", ["com.amazonaws.", {"Ref": "AWS::Region"}, f".{service}"]]},
            },
        )


def test_prod_pays_for_no_endpoint_that_nobody_uses(prod: Synthesised) -> None:
    names = json.dumps([e["Properties"]["ServiceName"] for e in prod.resources("AWS::EC2::VPCEndpoint").values()])
    assert not [service for service in ("sts", "ecr.api", "ecr.dkr", ".ec2") if f'{service}"' in names]


def test_containers_of_one_job_may_use_any_port(stage: Synthesised) -> None:
    stage.templates["network"].has_resource_properties(
        "AWS::EC2::SecurityGroupIngress",
        {
            "IpProtocol": "-1",
            "GroupId": Match.any_value(),
            "SourceSecurityGroupId": Match.any_value(),
            "Description": "Containers of one job",
        },
    )
