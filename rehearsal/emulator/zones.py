"""Makes the emulator's EC2 refuse an endpoint service or an instance type in a zone, as AWS does in some zones.

DescribeInstanceTypeOfferings, which the emulator lacks, offers every type that is asked for in all zones but those.
Not emulated: offerings by region or zone id, and types that a region lacks altogether.
"""

from typing import Any

from ministack.core.responses import get_region
from ministack.services import ec2
from ministack.services.cloudformation import provisioners

from rehearsal.emulator.faults import Fault, Faults

LETTERS = "abc"
"""Of the emulator's zones."""


def install(faults: Faults) -> None:
    """Replaces the description of services and the provisioner of VPC endpoints."""
    describe = ec2._ACTION_MAP["DescribeVpcEndpointServices"]
    endpoints = provisioners._RESOURCE_HANDLERS["AWS::EC2::VPCEndpoint"]

    def describe_by_zone(parameters: dict[str, Any]) -> Any:
        status, headers, body = describe(parameters)
        before, *services = body.decode().split("<serviceName>")
        for number, service in enumerate(services):
            if zone := faults.peek(Fault.ZONE_REFUSED, service.partition("<")[0]):
                services[number] = service.replace(f"<item>{zone}</item>", "")
        return status, headers, "<serviceName>".join([before, *services]).encode()

    def offerings(parameters: dict[str, Any]) -> Any:
        zones = [get_region() + letter for letter in LETTERS]
        offered = [
            f"<item><instanceType>{each}</instanceType><locationType>availability-zone</locationType>"
            f"<location>{zone}</location></item>"
            for each in ec2._parse_filters(parameters).get("instance-type", [])
            for zone in zones
            if faults.peek(Fault.ZONE_REFUSED, f"{each} in {zone}") != zone
        ]
        found = f"<instanceTypeOfferingSet>{''.join(offered)}</instanceTypeOfferingSet>"
        return ec2._xml(200, "DescribeInstanceTypeOfferingsResponse", found)

    def create(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        service = properties.get("ServiceName", "")
        for subnet in properties.get("SubnetIds", []):
            zone = ec2._subnets[subnet]["AvailabilityZone"]
            if faults.peek(Fault.ZONE_REFUSED, service) == zone:
                faults.take(Fault.ZONE_REFUSED, service)
                lacks = f"The VPC endpoint service {service} does not support the availability zone of the subnet"
                raise ValueError(f"{lacks}: {subnet}.")
        return endpoints["create"](logical_id, properties, stack)

    ec2._ACTION_MAP["DescribeVpcEndpointServices"] = describe_by_zone
    ec2._ACTION_MAP["DescribeInstanceTypeOfferings"] = offerings
    provisioners._RESOURCE_HANDLERS["AWS::EC2::VPCEndpoint"] = {**endpoints, "create": create}
