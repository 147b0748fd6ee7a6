"""`cdk.out` deployed with boto3 alone: the same templates and assets as by the CDK CLI, in a second."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rehearsal.running import REGION, Emulator
from tests.rehearsal.support.stacks import settle

CAPABILITIES = ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]


def deploy(emulator: Emulator, cdk_out: Path) -> dict[str, str]:
    """Deploys every stack of the assembly in its order; returns all outputs by name."""
    bootstrap(emulator)
    outputs: dict[str, str] = {}
    for assembly in (cdk_out, *sorted(cdk_out.glob("assembly-*"))):
        for assets in sorted(assembly.glob("*.assets.json")):
            _publish(emulator, assembly, json.loads(assets.read_text())["files"].values())
        for name, template in _stacks(assembly):
            outputs |= create(emulator, name, (assembly / template).read_text())
    return outputs


def assets_of(emulator: Emulator) -> str:
    """The bucket for the assets of templates."""
    return f"cdk-hnb659fds-assets-{emulator.account}-{REGION}"


def bootstrap(emulator: Emulator) -> None:
    """What `cdk bootstrap` leaves that templates rely on: the asset bucket and the version."""
    emulator.client("s3").create_bucket(Bucket=assets_of(emulator))
    emulator.client("ssm").put_parameter(
        Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String", Overwrite=True
    )


def _publish(emulator: Emulator, assembly: Path, files: Any) -> None:
    s3 = emulator.client("s3")
    for file in files:
        source = assembly / file["source"]["path"]
        body = _zipped(source) if file["source"]["packaging"] == "zip" else source.read_bytes()
        for destination in file["destinations"].values():
            s3.put_object(Bucket=assets_of(emulator), Key=destination["objectKey"], Body=body)


def _zipped(folder: Path) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:  # the zip lives for a second: not worth compressing
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder))
    return archive.getvalue()


def _stacks(assembly: Path) -> Iterator[tuple[str, str]]:
    """Name and template file of each stack, those it depends on before it."""
    artifacts = json.loads((assembly / "manifest.json").read_text())["artifacts"]
    stacks = {id: a for id, a in artifacts.items() if a["type"] == "aws:cloudformation:stack"}
    done: set[str] = set()
    while len(done) < len(stacks):
        for id, stack in stacks.items():
            if id not in done and set(stack.get("dependencies", [])) & set(stacks) <= done:
                done.add(id)
                yield stack["properties"].get("stackName", id), stack["properties"]["templateFile"]


def create(emulator: Emulator, name: str, template: str) -> dict[str, str]:
    """Creates a stack and returns its outputs."""
    cloudformation = emulator.client("cloudformation")
    emulator.client("s3").put_object(Bucket=assets_of(emulator), Key=f"{name}.json", Body=template.encode())
    url = f"{emulator.url}/{assets_of(emulator)}/{name}.json"  # a body in the request may have 51,200 bytes
    cloudformation.create_stack(StackName=name, TemplateURL=url, Capabilities=CAPABILITIES)
    if settle(cloudformation, name) != "CREATE_COMPLETE":
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        failed = [
            (e["LogicalResourceId"], e.get("ResourceStatusReason")) for e in events if "FAILED" in e["ResourceStatus"]
        ]
        raise AssertionError(f"{name} was not created: {failed}")
    described = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
