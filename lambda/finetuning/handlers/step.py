"""What every handler has in common: JSON logs, metrics and a trace that carry the run's id, and typed AWS errors.

Powertools takes the service's name from POWERTOOLS_SERVICE_NAME, which is the stage's prefix: so `service` tells the
stages apart in logs, metrics and traces.
"""

import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from finetuning.aws.errors import translate_errors
from finetuning.errors import FineTuningError
from finetuning.metrics import CODE, NAMESPACE, STEP, ProductMetric

Payload = dict[str, Any]

logger = Logger()
metrics = Metrics(namespace=NAMESPACE)
tracer = Tracer()


def step(handle: Callable[[Payload], Payload]) -> Callable[[Payload, LambdaContext], Payload]:
    """Makes a Lambda handler of a function from payload to result.

    The result is what the state machine goes by, as the handler's docstring says, and what its console shows a person:
    `message` and `links` (`RunStatus.shown`).

    A typed failure is logged with its code and raised again: the state machine reads it. Anything else is a defect and
    is logged with its traceback.
    """
    name = handle.__module__.rsplit(".", 1)[-1]

    @wraps(handle)
    def run(event: Payload, context: LambdaContext) -> Payload:
        logger.append_keys(step=name)
        metrics.add_dimension(name=STEP, value=name)
        set_run_context(event.get("run_id"))
        begun = time.monotonic()
        try:
            with translate_errors(f"run the step {name}"):
                return handle(event)
        except FineTuningError as error:
            logger.warning(error.message, extra={"error": error.as_dict()})
            measure({ProductMetric.STEP_REFUSED: 1})
            raise
        except Exception:
            logger.exception("The step failed unexpectedly")
            measure({ProductMetric.STEP_FAILED: 1})
            raise
        finally:
            measure({ProductMetric.STEP_DURATION: round((time.monotonic() - begun) * 1000)})

    handler: Callable[[Payload, LambdaContext], Payload] = logger.inject_lambda_context(clear_state=True)(
        tracer.capture_lambda_handler(metrics.log_metrics(run), capture_response=False)
    )
    return handler


def set_run_context(run_id: str | None) -> None:
    """Says whose run this call works for: on its log lines, its metrics and its trace from here on.

    With the metrics the id is no dimension, of which each run would make new metrics to pay for: it lies beside the
    values in the log, where a query finds it.
    """
    logger.append_keys(run_id=run_id)
    if run_id:
        metrics.add_metadata("run_id", run_id)
        tracer.put_annotation("run_id", run_id)


def measure(values: Mapping[ProductMetric, float | None]) -> None:
    """Adds metrics of this step; a value that is not known is left out."""
    for metric, value in values.items():
        if value is not None:
            metrics.add_metric(name=metric, unit=metric.unit, value=value)


def measure_failure(code: str, run_id: str) -> None:
    """Counts a run that failed, by its error's code."""
    with single_metric(ProductMetric.RUN_FAILED, MetricUnit.Count, 1, namespace=NAMESPACE) as metric:
        metric.add_dimension(CODE, code)
        metric.add_metadata("run_id", run_id)
