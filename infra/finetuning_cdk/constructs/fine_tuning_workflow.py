"""The state machine."""

import json
from collections.abc import Mapping

from aws_cdk import CfnResource, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.encrypted_log_group import STATES_LOGS, EncryptedLogGroup
from finetuning_cdk.constructs.permissions import Permissions, depend_on_role_alone, service_role
from finetuning_cdk.state_machine.definition import definition, events_sent


class FineTuningWorkflow(sfn.StateMachine):
    """The state machine of `finetuning_cdk.state_machine.definition`, with the functions' ARNs for its placeholders.

    `functions` are by the name of their placeholder: the state's name. The definition is inline in the template, where
    validators check it. Execution data is not logged: it names users' files.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: StageConfig,
        key: kms.IKey,
        functions: Mapping[str, lambda_.IFunction],
    ) -> None:
        permissions = Permissions(scope, f"{id}Permissions").allow_tracing()
        permissions.allow(
            "lambda:InvokeFunction",
            on=[function.function_arn for function in functions.values()],
            because="The steps of the workflow",
        )
        sources, detail_types = events_sent(definition())
        permissions.allow(
            "events:PutEvents",
            on=[Stack.of(scope).format_arn(service="events", resource="event-bus", resource_name="default")],
            because="Tells other software that a run has ended",
            when={"StringEquals": {"events:source": sources, "events:detail-type": detail_types}},
        )
        permissions.allow(
            "logs:CreateLogDelivery",
            "logs:GetLogDelivery",
            "logs:UpdateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:DescribeResourcePolicies",
            "logs:DescribeLogGroups",
            on=["*"],
            because="Log deliveries, with which Step Functions writes its log, have no resource-level permissions",
        )
        role = service_role(scope, f"{id}Role", service="states.amazonaws.com", permissions=permissions)
        super().__init__(
            scope,
            id,
            definition_body=sfn.DefinitionBody.from_string(json.dumps(definition(), indent=2, ensure_ascii=False)),
            definition_substitutions={name: function.function_arn for name, function in functions.items()},
            role=role.without_policy_updates(),
            tracing_enabled=True,
            logs=sfn.LogOptions(
                destination=EncryptedLogGroup(scope, f"{id}Logs", config=config, key=key, folder=STATES_LOGS),
                level=sfn.LogLevel.ALL,
                include_execution_data=False,
            ),
        )
        depend_on_role_alone(self)
        template_resource = self.node.default_child
        assert isinstance(template_resource, CfnResource)
        template_resource.add_metadata(
            "cfn-lint",
            {
                "config": {"ignore_checks": ["E3601"]},
                "reason": "It rejects a time limit that is a JSONata expression, which the States Language allows",
            },
        )
