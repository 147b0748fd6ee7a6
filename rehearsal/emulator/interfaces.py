"""Patches the emulator's CloudFormation: functions keep their network, and its interfaces hold subnets and groups.

Lambda gives the functions of one subnet and one set of security groups an interface together, and deletes it some time
after the last of them: at once here, or late with the fault. EC2 deletes no group and no subnet that an interface uses.
"""

import contextvars
import threading
import uuid
from collections.abc import Callable
from typing import Any

from ministack.services import ec2, lambda_svc
from ministack.services.cloudformation import provisioners

from rehearsal.emulator.faults import Fault, Faults

LATE_SECONDS = 20.0
"""How long the interfaces stay with the fault; on AWS 20 to 45 minutes."""


def install(faults: Faults) -> None:
    """Replaces the provisioners of functions, groups and subnets."""
    handlers = provisioners._RESOURCE_HANDLERS
    functions = handlers["AWS::Lambda::Function"]
    create, delete = functions["create"], functions["delete"]

    def create_in_network(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        name, attributes = create(logical_id, properties, stack)
        network = lambda_svc._vpc_config_with_id(properties.get("VpcConfig"))
        lambda_svc._functions[name]["config"]["VpcConfig"] = network
        return name, attributes

    def delete_with_interfaces(name: str, properties: dict[str, Any]) -> None:
        network = lambda_svc._functions[name]["config"].get("VpcConfig", {}) if name in lambda_svc._functions else {}
        delete(name, properties)
        if network.get("SubnetIds") and (late := faults.take(Fault.LATE_INTERFACES, name)):
            _keep_for_a_while(network, float(late) if late.replace(".", "").isdigit() else LATE_SECONDS)

    handlers["AWS::Lambda::Function"] = {**functions, "create": create_in_network, "delete": delete_with_interfaces}
    for kind, uses in (("SecurityGroup", _uses_group), ("Subnet", _uses_subnet)):
        resource = handlers[f"AWS::EC2::{kind}"]
        handlers[f"AWS::EC2::{kind}"] = {**resource, "delete": _unless_used(resource["delete"], uses)}


def _keep_for_a_while(network: dict[str, Any], seconds: float) -> None:
    for subnet in network["SubnetIds"]:
        groups = "".join(f"&SecurityGroupId.{n}={group}" for n, group in enumerate(network["SecurityGroupIds"], 1))
        known = set(ec2._network_interfaces)
        ec2._create_network_interface(_form(f"SubnetId={subnet}&Description=AWS Lambda VPC ENI-{uuid.uuid4()}{groups}"))
        (made,) = set(ec2._network_interfaces) - known
        context = contextvars.copy_context()  # the emulator keeps its records by account and region
        timer = threading.Timer(seconds, context.run, [ec2._network_interfaces.pop, made, None])
        timer.daemon = True
        timer.start()


def _form(text: str) -> dict[str, list[str]]:
    return {name: [value] for name, _, value in (part.partition("=") for part in text.split("&"))}


def _uses_group(interface: dict[str, Any], group: str) -> bool:
    return group in {each["GroupId"] for each in interface["Groups"]}


def _uses_subnet(interface: dict[str, Any], subnet: str) -> bool:
    return bool(interface["SubnetId"] == subnet)


def _unless_used(delete: Callable[..., None], uses: Callable[[dict[str, Any], str], bool]) -> Callable[..., None]:
    def delete_if_free(physical_id: str, *rest: Any) -> None:
        if any(uses(interface, physical_id) for interface in list(ec2._network_interfaces.values())):
            raise ValueError(f"resource {physical_id} has a dependent object (DependencyViolation)")
        delete(physical_id, *rest)

    return delete_if_free
