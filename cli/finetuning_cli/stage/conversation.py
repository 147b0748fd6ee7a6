"""Questions to an endpoint, in the format that its model was trained on."""

from collections.abc import Callable

from finetuning.aws.sagemaker_runtime import MAX_NEW_TOKENS, asker, stream_answer
from finetuning.errors import Code, FineTuningError
from finetuning.evaluation.comparison import Reply
from finetuning.evaluation.questions import as_inputs, stop_tokens
from finetuning.jumpstart.catalogue import DEFAULT_FAMILY
from finetuning.jumpstart.family import Message
from finetuning.runs.plan import RunPlan


class Conversation:
    """One after the other, questions to an endpoint. Those of a chat model are sent with what was said before.

    `plan`: of the run that the endpoint serves, if it is known; `task` replaces the plan's.
    """

    def __init__(
        self,
        endpoint: str,
        plan: RunPlan | None,
        task: str = "",
        system: str = "",
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        self.endpoint, self._plan, self._max_new_tokens = endpoint, plan, max_new_tokens
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
        inputs, stops = self.inputs(prompt), stop_tokens(self._task, self._family)
        if on_text:
            reply = stream_answer(self.endpoint, inputs, on_text, stops, self._max_new_tokens)
        else:
            reply = asker(self.endpoint, stops, self._max_new_tokens)(inputs)
        if reply.error is not None:
            raise FineTuningError(
                Code.ENDPOINT_FAILED,
                f"The endpoint {self.endpoint} did not answer: {reply.error}",
                "Check its status with `finetune endpoints`, and its log in CloudWatch.",
            )
        self._said += [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply.text}]
        return reply
