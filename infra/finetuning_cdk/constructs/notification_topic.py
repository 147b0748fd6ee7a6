"""The topic that notifies the team."""

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from finetuning_cdk.constructs.acknowledgements import acknowledge


class NotificationTopic(sns.Topic):
    """Encrypted, over TLS only. Runs and the alarms of this account publish to it, and budgets where there is one."""

    def __init__(self, scope: Construct, id: str, *, key: kms.IKey, email: str | None, budget: bool) -> None:
        super().__init__(scope, id, master_key=key, enforce_ssl=True)
        stack = Stack.of(self)
        alarms = stack.format_arn(
            service="cloudwatch", resource="alarm", resource_name="*", arn_format=ArnFormat.COLON_RESOURCE_NAME
        )
        self._allow_to_publish("AlarmsOfThisAccount", "cloudwatch.amazonaws.com", alarms)
        if budget:
            # Conditions as in the user guide of AWS Budgets. The ARN of a budget has no region.
            budgets = f"arn:{stack.partition}:budgets::{stack.account}:*"
            self._allow_to_publish("BudgetsOfThisAccount", "budgets.amazonaws.com", budgets)
        if email:
            acknowledge(
                self.add_subscription(subscriptions.EmailSubscription(email)),
                "Serverless-SNSRedrivePolicy",
                because="A message that cannot be sent is also in the run's status and report",
            )

    def _allow_to_publish(self, sid: str, service: str, source: str) -> None:
        account = Stack.of(self).account
        self.add_to_resource_policy(
            iam.PolicyStatement(
                sid=sid,
                principals=[iam.ServicePrincipal(service)],
                actions=["sns:Publish"],
                resources=[self.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": account}, "ArnLike": {"aws:SourceArn": source}},
            )
        )
