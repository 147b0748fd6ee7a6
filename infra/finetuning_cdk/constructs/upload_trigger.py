"""The rule that starts a run when an upload is complete."""

from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from finetuning.runs.layout import START_PATTERNS
from finetuning_cdk.constructs.event_delivery import MAX_EVENT_AGE, MAX_RETRIES
from finetuning_cdk.constructs.permissions import Permissions, service_role


class UploadTrigger(Construct):
    """Uploads start executions; events that cannot be delivered for hours go to the dead-letter queue."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        uploads: s3.IBucket,
        state_machine: sfn.IStateMachine,
        dead_letters: sqs.IQueue,
    ) -> None:
        super().__init__(scope, id)
        permissions = Permissions(self, "Permissions").allow(
            "states:StartExecution",
            on=[state_machine.state_machine_arn],
            because="Starts this state machine only",
        )
        role = service_role(self, "Role", service="events.amazonaws.com", permissions=permissions)
        self.rule = events.Rule(
            self,
            "Rule",
            description="A complete upload starts a run",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [uploads.bucket_name]},
                    "object": {"key": [{"wildcard": pattern} for pattern in START_PATTERNS]},
                },
            ),
        )
        self.rule.add_target(
            targets.SfnStateMachine(
                state_machine,
                role=role.without_policy_updates(),
                dead_letter_queue=dead_letters,
                max_event_age=MAX_EVENT_AGE,
                retry_attempts=MAX_RETRIES,
                # Whole: an input transformer does not escape what it puts into JSON, and a key may have a quote.
                input=events.RuleTargetInput.from_event_path("$.detail"),
            )
        )
