"""A deployed stage: where uploads go, where runs keep their files."""

from dataclasses import dataclass

from botocore.exceptions import ClientError

from cli.errors import cli_errors
from finetuning.aws.clients import client
from finetuning.aws.errors import error_code
from finetuning.aws.run_store import RunStore
from finetuning.errors import Code, FineTuningError
from finetuning.operations.run import Run

PREFIX = "finetune-"
OUTPUTS = ("UploadBucketName", "ArtifactsBucketName", "StateMachineArn", "TopicArn")


@dataclass(frozen=True)
class Deployment:
    """The workflow of one stage in one account, found by its stack's outputs."""

    prefix: str
    upload_bucket: str
    artifacts_bucket: str
    state_machine_arn: str
    topic_arn: str

    @classmethod
    def find(cls, stage: str) -> "Deployment":
        """Reads the outputs of the stack `finetune-<stage>-workflow`.

        Raises `FineTuningError`: DEPLOYMENT_NOT_FOUND if there is no such stack, otherwise as `cli_errors`.
        """
        prefix = PREFIX + stage
        stack = f"{prefix}-workflow"
        with cli_errors(f"read the stack {stack}"):
            cloudformation = client("cloudformation")
            try:
                described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
            except ClientError as error:
                if error_code(error) != "ValidationError" or "does not exist" not in str(error):
                    raise
                region = cloudformation.meta.region_name
                raise _not_found(f"There is no stack {stack} in {region}.", stage) from error
        outputs = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])}
        missing = [name for name in OUTPUTS if name not in outputs]
        if missing:
            state = described["StackStatus"]
            raise _not_found(f"The stack {stack} ({state}) has no output {', '.join(missing)}.", stage)
        return cls(prefix, *(outputs[name] for name in OUTPUTS))

    @property
    def stage(self) -> str:
        return self.prefix.removeprefix(PREFIX)

    @property
    def store(self) -> RunStore:
        """Read only: the command never writes into the artifacts bucket."""
        return RunStore(client("s3"), self.artifacts_bucket, kms_key_arn="")

    def run(self, run_id: str) -> Run:
        """The run of that id, which may not have started yet."""
        return Run(run_id, store=self.store, prefix=self.prefix)


def _not_found(message: str, stage: str) -> FineTuningError:
    return FineTuningError(
        Code.DEPLOYMENT_NOT_FOUND,
        message,
        f"Deploy the stage (`npx cdk deploy --all -c stage={stage}`) or choose another with --stage; "
        "check the account, AWS_REGION and AWS_ENDPOINT_URL.",
    )
