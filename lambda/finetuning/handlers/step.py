"""What every handler has in common: JSON logs with the run's id, metrics, a trace, explained AWS faults."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from finetuning.aws.faults import explained
from finetuning.errors import FineTuningError

Payload = dict[str, Any]

logger = Logger(service="finetuning")
metrics = Metrics(namespace="FineTuning", service="finetuning")
tracer = Tracer(service="finetuning")


def step(handle: Callable[[Payload], Payload]) -> Callable[[Payload, LambdaContext], Payload]:
    """Makes a Lambda handler of a function from payload to result.

    A typed failure is logged with its code and raised again: the state machine reads it. Anything else is a defect and
    is logged with its traceback.
    """
    name = handle.__module__.rsplit(".", 1)[-1]

    @wraps(handle)
    def run(event: Payload, context: LambdaContext) -> Payload:
        logger.append_keys(step=name, run_id=event.get("run_id"))
        metrics.add_dimension(name="step", value=name)
        try:
            with explained(f"run the step {name}"):
                result = handle(event)
        except FineTuningError as error:
            logger.warning(error.message, extra={"error": error.as_dict()})
            metrics.add_metric(name="StepRefused", unit=MetricUnit.Count, value=1)
            raise
        except Exception:
            logger.exception("The step failed unexpectedly")
            metrics.add_metric(name="StepFailed", unit=MetricUnit.Count, value=1)
            raise
        metrics.add_metric(name="StepSucceeded", unit=MetricUnit.Count, value=1)
        return result

    handler: Callable[[Payload, LambdaContext], Payload] = logger.inject_lambda_context(clear_state=True)(
        tracer.capture_lambda_handler(metrics.log_metrics(run))
    )
    return handler
