from aws_cdk.assertions import Match

from tests.infra.synthesis import Synthesised

STATEFUL_IDS = {"AccessLogs8B620ECA", "Artifacts82DD59A1", "Key961B73FD", "Uploads4F6EB0FD"}
"""CloudFormation replaces a resource whose id changes, and the team's data with it."""


def test_resources_with_data_keep_their_logical_ids(stage: Synthesised) -> None:
    assert {*stage.resources("AWS::S3::Bucket"), *stage.resources("AWS::KMS::Key")} == STATEFUL_IDS


def test_buckets_have_no_physical_names(stage: Synthesised) -> None:
    for bucket in stage.resources("AWS::S3::Bucket").values():
        assert "BucketName" not in bucket["Properties"]


def test_only_uploads_send_events(stage: Synthesised) -> None:
    senders = [
        id for id, b in stage.resources("AWS::S3::Bucket").items() if "NotificationConfiguration" in b["Properties"]
    ]
    assert senders == ["Uploads4F6EB0FD"]


def test_data_buckets_use_the_stage_key_and_log_their_accesses(stage: Synthesised) -> None:
    encrypted_and_logged = {
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [
                Match.object_like(
                    {
                        "ServerSideEncryptionByDefault": {
                            "SSEAlgorithm": "aws:kms",
                            "KMSMasterKeyID": {"Fn::GetAtt": ["Key961B73FD", "Arn"]},
                        }
                    }
                )
            ]
        },
        "LoggingConfiguration": {"DestinationBucketName": {"Ref": "AccessLogs8B620ECA"}},
    }
    template = stage.templates["storage"]
    found = template.find_resources("AWS::S3::Bucket", {"Properties": Match.object_like(encrypted_and_logged)})
    assert set(found) == {"Artifacts82DD59A1", "Uploads4F6EB0FD"}


def test_dev_is_deleted_with_its_stacks(dev: Synthesised) -> None:
    for type in ("AWS::S3::Bucket", "AWS::KMS::Key", "AWS::Logs::LogGroup"):
        assert {resource["DeletionPolicy"] for resource in dev.resources(type).values()} == {"Delete"}


def test_prod_keeps_its_data(prod: Synthesised) -> None:
    for type in ("AWS::S3::Bucket", "AWS::KMS::Key", "AWS::Logs::LogGroup"):
        assert {resource["DeletionPolicy"] for resource in prod.resources(type).values()} == {"Retain"}


def test_only_prod_has_termination_protection(dev: Synthesised, prod: Synthesised) -> None:
    def protected(stage: Synthesised) -> list[bool]:
        built = stage.stage
        return [
            bool(stack.termination_protection)
            for stack in (built.storage, built.network, built.workflow, built.monitoring)
        ]

    assert protected(dev) == [False] * 4
    assert protected(prod) == [True] * 4


def test_a_stage_can_keep_its_data_later(dev: Synthesised, prod: Synthesised) -> None:
    """Storage is deployed first, while the workflow still imports what RemoveRuns empties."""
    exported = [
        {each["Value"]["Ref"] if "Ref" in each["Value"] else str(each["Value"]) for each in outputs.values()}
        for outputs in (stage.templates["storage"].to_json()["Outputs"] for stage in (dev, prod))
    ]
    assert any("AccessLogs" in value for value in exported[0])
    assert exported[0] <= exported[1]
