"""Questions to an endpoint, in the format that its model was trained on."""

from collections.abc import Callable

from finetuning.aws.answer_bodies import MAX_NEW_TOKENS
from finetuning.aws.bedrock_runtime import OnWait
from finetuning.errors import Code, FineTuningError
from finetuning.evaluation.comparison import Reply
from finetuning.evaluation.questions import as_inputs
from finetuning.jumpstart.catalogue import DEFAULT_FAMILY
from finetuning.jumpstart.family import Message
from finetuning.operations.answers import asker_of, stream_answer_of
from finetuning.runs.plan import RunPlan


class Conversation:
    """One after the other, questions to an endpoint. Those of a chat model are sent with what was said before.

    `plan`: of the run that the endpoint serves, if it is known; `task` replaces the plan's. `model`: ARN of the
    imported model that the endpoint's name stands for; `on_wait` gets a line when a wait begins for one that is not
    loaded.
    """

    def __init__(
        self,
        endpoint: str,
        plan: RunPlan | None,
        task: str = "",
        system: str = "",
        max_new_tokens: int = MAX_NEW_TOKENS,
        model: str = "",
        on_wait: OnWait = lambda _: None,
    ) -> None:
        self.endpoint, self._plan, self._max_new_tokens = endpoint, plan, max_new_tokens
        self._model, self._on_wait = model or endpoint, on_wait
        planned = str(plan.task) if plan and plan.task else "chat"
        self._task = task or ("chat" if system else planned)
        self._family = plan.family if plan else DEFAULT_FAMILY
        self._said: list[Message] = [{"role": "system", "content": system}] if system else []

    def inputs(self, prompt: str) -> str:
        """What is sent for the prompt."""
        template = self._plan.template if self._plan else None
        return as_inputs(prompt, self._task, template, self._said, self._family)

    def ask(self, prompt: str, on_text: Callable[[str], None] | None = None) -> Reply:
        """The answer; piece by piece to `on_text` if it is given. Raises `FineTuningError` (ENDPOINT_FAILED)."""
        model, family, limit = self._model, self._family, self._max_new_tokens
        if on_text:
            reply = stream_answer_of(model, self.inputs(prompt), self._task, family, on_text, self._on_wait, limit)
        else:
            reply = asker_of(model, self._task, family, self._on_wait, limit)(self.inputs(prompt))
        if reply.error is not None:
            raise FineTuningError(
                Code.ENDPOINT_FAILED,
                f"The endpoint {self.endpoint} did not answer: {reply.error}",
                "Check its status with `finetune endpoints`, and its log in CloudWatch.",
            )
        self._said += [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply.text}]
        return reply
