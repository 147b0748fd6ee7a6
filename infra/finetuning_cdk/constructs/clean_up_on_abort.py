"""What happens when an execution ends before its time."""

from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from finetuning_cdk.constructs.event_delivery import MAX_EVENT_AGE, MAX_RETRIES


class CleanUpOnAbort(Construct):
    """Calls CleanUpRun when an execution was aborted, timed out or failed: it can no longer clean up itself."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        state_machine: sfn.IStateMachine,
        clean_up: lambda_.IFunction,
        dead_letters: sqs.IQueue,
    ) -> None:
        super().__init__(scope, id)
        rule = events.Rule(
            self,
            "Rule",
            description="Stops and deletes what an unfinished run left behind",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={
                    "status": ["ABORTED", "FAILED", "TIMED_OUT"],
                    "stateMachineArn": [state_machine.state_machine_arn],
                },
            ),
        )
        rule.add_target(
            targets.LambdaFunction(
                clean_up, dead_letter_queue=dead_letters, max_event_age=MAX_EVENT_AGE, retry_attempts=MAX_RETRIES
            )
        )
