"""Where files lie: in the upload bucket, and of a run in the artifacts bucket."""

from dataclasses import dataclass
from datetime import datetime

RUNS = "runs/"
"""The folder of uploads with a run.json in the upload bucket, and of all runs in the artifacts bucket."""

INBOX, RUN_FILE = "inbox/", "run.json"

START_PATTERNS = (f"{INBOX}*.*", f"{RUNS}*/{RUN_FILE}")
"""The keys whose arrival starts an execution, as EventBridge matches them: a file with an extension (not the folder
objects that the console makes), or the run.json that completes a folder.

`*` matches `/` as well, and EventBridge cannot exclude deeper folders in the same rule: for such a key PlanRun fails
(`uploads.Upload.starts_a_run`), and ReportFailure notifies the team.
"""

TURNS = "turns/"
"""In the artifacts bucket: a folder for each endpoint with a name of its own, in it one for each run's turn, and a
document that names the turn that is served."""

ALIASES = "aliases/"
"""In the artifacts bucket: a folder for each name that stands for an imported model (`runs/aliases.py`)."""


def alias_key(name: str) -> str:
    """Key of the document that says which model the name stands for."""
    return f"{ALIASES}{name}/alias.json"


SHARDS, DATASET = "shards/", "dataset/"
"""Within a run's folder, which is the workspace of the steps that prepare its data."""


MEASUREMENTS = "measurements/"
"""What trainings took: a document for each model and instance type, in the artifacts bucket."""


def measurement(model_id: str, instance_type: str) -> str:
    """Key of what the last training of the model on the type took."""
    return f"{MEASUREMENTS}{model_id}/{instance_type}.json"


PROMOTIONS = "promotions/"


def promotion_key(digest: str) -> str:
    """Key of the document that says which run copied the model with this digest from another account."""
    return f"{PROMOTIONS}{digest}.json"


@dataclass(frozen=True)
class RunLayout:
    """Keys of one run, all under `runs/<run-id>/`; prefixes end in `/`."""

    run_id: str

    @property
    def root(self) -> str:
        return f"{RUNS}{self.run_id}/"

    @property
    def claim(self) -> str:
        """The execution that owns the run. Written once, on condition that it does not exist."""
        return self.root + "claim.json"

    @property
    def request(self) -> str:
        return self.root + "run.json"

    @property
    def plan(self) -> str:
        return self.root + "plan.json"

    @property
    def status(self) -> str:
        return self.root + "status.json"

    @property
    def dataset_report(self) -> str:
        return self.root + "dataset.json"

    @property
    def report_page(self) -> str:
        return self.root + "report.html"

    @property
    def redeployment_page(self) -> str:
        """The report of the last time that the model was deployed again: the training's page stays as it was."""
        return self.root + "redeployment.html"

    @property
    def report_pages(self) -> tuple[str, str]:
        """Both keys, for whoever writes one of them."""
        return self.report_page, self.redeployment_page

    @property
    def evaluation(self) -> str:
        return self.root + "evaluation.json"

    def later_evaluation(self, time: datetime) -> str:
        """What `finetune evaluate` found at that time: beside the run's own evaluation, which stays as it is."""
        return f"{self.evaluations_folder}{time:%Y%m%dT%H%M%S.%fZ}.json"

    @property
    def approval(self) -> str:
        """The task token that `finetune approve` and `finetune reject` send back."""
        return self.root + "approval.json"

    @property
    def prompts(self) -> str:
        """Held-out prompts with their references, for the evaluation."""
        return self.root + "evaluation/prompts.jsonl"

    def answers(self, model: str, batch: int) -> str:
        """What the tuned or the base model answered to a batch of prompts."""
        return f"{self.answers_folder}{model}-{batch:03}.json"

    @property
    def evaluations_folder(self) -> str:
        """What was measured of a live endpoint after the run."""
        return f"{self.root}evaluations/"

    @property
    def answers_folder(self) -> str:
        return self.root + "evaluation/answers/"

    @property
    def train(self) -> str:
        """The `training` channel: the data file and template.json, nothing else."""
        return self.root + DATASET + "train/"

    @property
    def validation(self) -> str:
        return self.root + DATASET + "validation/"

    @property
    def shards(self) -> str:
        return self.root + SHARDS

    @property
    def preparation(self) -> str:
        """Files, task and shards, for PrepareShard and FinishDataset."""
        return self.shards + "preparation.json"

    @property
    def training_output(self) -> str:
        """`S3OutputPath` of the training job. The execution role may write nowhere else."""
        return self.root + "training/"

    @property
    def release(self) -> str:
        """What another account needs to deploy the model: its plan, its files and their checksums."""
        return self.root + "release.json"

    @property
    def capture(self) -> str:
        """Requests and responses of the run's endpoint, if data capture is on."""
        return self.root + "capture/"

    def model_artifact(self, training_job: str) -> str:
        """Prefix where the training job is expected to write the tuned model; a completed job reports the real one."""
        return f"{self.training_output}{training_job}/output/model/"
