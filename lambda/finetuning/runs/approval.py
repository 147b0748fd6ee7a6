"""The question whether a tuned model is to be deployed: approval.json."""

from pydantic import BaseModel


class Approval(BaseModel):
    """An open question to the team. The token belongs to the execution that waits for the answer."""

    task_token: str
