"""What all handlers have in common: JSON logs, metrics and a trace with the run's id, and typed AWS errors.

`@step` is for the states of the state machine, which work for one run; `@function` for functions that find out
themselves which runs they work for. `__wrapped__` of a handler is the bare function.

Powertools takes the service's name from POWERTOOLS_SERVICE_NAME, the stage's prefix: `service` separates the stages in
logs, metrics and traces.
"""

import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, Protocol, cast

from aws_lambda_powertools import Logger, Metrics, Tracer, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from finetuning.aws.errors import translate_errors
from finetuning.aws.run_store import run_store
from finetuning.errors import FineTuningError
from finetuning.metrics import CODE, NAMESPACE, STEP, ProductMetric
from finetuning.operations.redrive import note_redrive
from finetuning.operations.run import Run
from finetuning.runs.uploads import Upload
from finetuning.settings import settings

Payload = dict[str, Any]
P = ParamSpec("P")

logger = Logger()
metrics = Metrics(namespace=NAMESPACE)
tracer = Tracer(patch_modules=("botocore",))
"""Only boto3's calls are traced. By default the SDK also looks for HTTP and database libraries and imports those it
finds: a tenth of a function's start.
"""


class Handler(Protocol[P]):
    """A Lambda handler made of a function with the parameters `P`."""

    __wrapped__: Callable[P, Payload]

    def __call__(self, event: Payload, context: LambdaContext) -> Payload: ...


def step(handle: Callable[[Run, Payload], Payload]) -> Handler[[Run, Payload]]:
    """Makes a Lambda handler of a function from run and payload to result.

    The state machine adds `{execution_arn, redrives}` to a payload with a `run_id`: the first step after a redrive sets
    the run's status to running.

    The payload names the run by `run_id`, or by the upload that it is made of: `{bucket, key, version_id}`. The run
    records its events under the state's name, which the module has: `start_training` is StartTraining.

    The result is what the state machine decides by, as the handler's docstring says, and what its console shows:
    `message` and `links` (`RunStatus.shown`).
    """

    def work(event: Payload) -> Payload:
        run_id = event.get("run_id") or Upload(event["bucket"], event["key"], event["version_id"]).run_id
        set_run_context(run_id)
        run = open_run(run_id, handle.__module__)
        if redrives := event.get("redrives"):
            note_redrive(run, event["execution_arn"], redrives)
        return handle(run, event)

    return cast("Handler[[Run, Payload]]", _lambda_handler(handle, work))


def function(handle: Callable[[Payload], Payload]) -> Handler[[Payload]]:
    """Makes a Lambda handler of a function from payload to result that works for no run, for several, or for one that
    it has to find out (see `open_run` and `set_run_context`).
    """
    return cast("Handler[[Payload]]", _lambda_handler(handle, handle))


def open_run(run_id: str, module: str) -> Run:
    """The run, whose events are recorded under the name of the handler in this module (`__name__`)."""
    state = _name(module).title().replace("_", "")
    return Run(run_id, store=run_store(), prefix=settings().prefix, step=state)


def _name(module: str) -> str:
    return module.rpartition(".")[2]


def _lambda_handler(
    handle: Callable[..., Payload], work: Callable[[Payload], Payload]
) -> Callable[[Payload, LambdaContext], Payload]:
    """A typed failure is logged with its code and raised again, for the state machine to read. Any other is a defect,
    logged with its traceback.
    """
    name = _name(handle.__module__)

    @wraps(handle)
    def call(event: Payload, context: LambdaContext) -> Payload:
        logger.append_keys(step=name)
        metrics.add_dimension(name=STEP, value=name)
        set_run_context(None)
        started = time.monotonic()
        try:
            with translate_errors(f"run the step {name}"):
                return work(event)
        except FineTuningError as error:
            logger.warning(error.message, extra={"error": error.as_dict()})
            measure({ProductMetric.STEP_REFUSED: 1})
            raise
        except Exception:
            logger.exception("The step failed unexpectedly")
            measure({ProductMetric.STEP_FAILED: 1})
            raise
        finally:
            measure({ProductMetric.STEP_DURATION: round((time.monotonic() - started) * 1000)})

    handler: Callable[[Payload, LambdaContext], Payload] = logger.inject_lambda_context(clear_state=True)(
        tracer.capture_lambda_handler(metrics.log_metrics(call), capture_response=False)
    )
    handler.__wrapped__ = handle  # type: ignore[attr-defined]  # past the decorators' own wrappers
    return handler


def set_run_context(run_id: str | None) -> None:
    """Puts the run's id on this call's log lines, metrics and trace from here on.

    The id is no dimension of the metrics, because each run would then create new metrics to pay for: it stands beside
    the values in the log, where a query finds it.
    """
    logger.append_keys(run_id=run_id)
    if run_id:
        metrics.add_metadata("run_id", run_id)
        tracer.put_annotation("run_id", run_id)


def measure(values: Mapping[ProductMetric, float | None]) -> None:
    """Adds metrics of this step; None, a value that is not known, is left out."""
    for metric, value in values.items():
        if value is not None:
            metrics.add_metric(name=metric, unit=metric.unit, value=value)


def measure_failure(code: str, run_id: str) -> None:
    """Counts a failed run under its error's code."""
    with single_metric(ProductMetric.RUN_FAILED, MetricUnit.Count, 1, namespace=NAMESPACE) as metric:
        metric.add_dimension(CODE, code)
        metric.add_metadata("run_id", run_id)
