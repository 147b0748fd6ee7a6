"""IAM, for the calls made by functions and by SageMaker's jobs: a missing permission fails the rehearsal.

The emulator evaluates policies only when it is started with AUTH=true, and then for every caller; the CDK's own calls
do not survive that. Here the switch is one per request: on for the sessions made below for a function's or a job's
role, off for everyone else.

Not rehearsed: the CDK's deployment roles and the policies of VPC endpoints. Bucket policies are evaluated, and so are
the use of a bucket's key and what the key's policy denies. What services do among themselves is in `deliveries`.
"""

import contextvars
import hashlib
import json
import re
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from ministack import app as ministack
from ministack.core import iam_actions, iam_evaluator, lambda_runtime, router
from ministack.services import s3, sts

from rehearsal.emulator import elsewhere, scaling
from rehearsal.emulator.bedrock import authorisation as bedrock
from rehearsal.emulator.identity import ACCOUNT
from rehearsal.emulator.sagemaker import authorisation

_enforced = contextvars.ContextVar("enforced", default=False)
_role_keys: set[str] = set()
denials: list[dict[str, str]] = []
"""Every refused call of a role: `caller`, `action` and `resource`."""
_MASTER_KEY = re.compile(r"<KMSMasterKeyID>(.+?)</KMSMasterKeyID>")
_WHOLE_OBJECT = {"versionId", "x-id", "partNumber", "uploadId", "uploads"}
"""Query parameters of reading or writing an object itself; any other names a subresource."""
_BY_CONVERSATION = {
    "bedrock:Converse": "bedrock:InvokeModel",
    "bedrock:ConverseStream": "bedrock:InvokeModelWithResponseStream",
}
_ACCESS_KEY = re.compile(rb"Credential=(\w+)/")


class _PerRequest:
    """Replaces the emulator's global switch, of which only the truth value is used."""

    def __bool__(self) -> bool:
        return _enforced.get()


def install() -> None:
    """Makes functions call with their role's session, and the emulator evaluate it."""
    if not isinstance(ministack.AUTH, bool):
        raise RuntimeError("the emulator's AUTH switch is no longer a module-wide flag")
    ministack.AUTH = _PerRequest()
    lambda_runtime.execution_credentials = _function_credentials
    sts.register_session = _one_at_a_time(sts.register_session)
    iam_actions.access_denied_response = _recording(iam_actions.access_denied_response)
    iam_actions.extract_iam_action = _knowing_invocations(iam_actions.extract_iam_action)
    iam_actions.extract_resource_arn = _knowing_log_streams(_knowing_sagemaker(iam_actions.extract_resource_arn))
    iam_actions.request_tag_context = _with_sagemaker_keys(iam_actions.request_tag_context)
    iam_actions.s3_additional_checks = _asking_for_the_key(iam_actions.s3_additional_checks)
    iam_actions.s3_access_point_resources = _by_way_of_s3(iam_actions.s3_access_point_resources)
    iam_evaluator._resource_policy = _of_the_resource(iam_evaluator._resource_policy)
    iam_evaluator._resolve_condition_key = _naming_the_role(iam_evaluator._resolve_condition_key)
    iam_evaluator._fnmatch_compile = _matching_line_breaks(iam_evaluator._fnmatch_compile)


def _one_at_a_time(register: Callable[..., None]) -> Callable[..., None]:
    """As shipped, a session that is registered while another thread looks for expired ones makes that thread fail: a
    function that starts then, and every other process of it.
    """
    lock = threading.Lock()

    def register_alone(*session: Any) -> None:
        with lock:
            register(*session)

    return register_alone


def _matching_line_breaks(compiled: Callable[[str, bool], re.Pattern[str]]) -> Callable[[str, bool], re.Pattern[str]]:
    """A policy's `*` is any combination of characters; as shipped, no key with a line break is allowed by one."""

    def compile_with_line_breaks(pattern: str, ignore_case: bool) -> re.Pattern[str]:
        found = compiled(pattern, ignore_case)
        return re.compile(found.pattern, found.flags | re.DOTALL)

    return compile_with_line_breaks


def require(headers: dict[str, str], action: str, resource: str, region: str, keys: dict[str, Any]) -> str | None:
    """Why the caller of the current request may not do this besides; None where it may, or is not checked."""
    if not _enforced.get():
        return None
    return _refusal(router.extract_access_key_id(headers), action, resource, region, keys)


def refusal(access_key: str, action: str, resource: str, region: str) -> str | None:
    """Why this caller may not do this; None where it may. For requests that are not signed, but have a token."""
    before = _enforced.set(True)
    try:
        return _refusal(access_key, action, resource, region, {})
    finally:
        _enforced.reset(before)


def _refusal(caller: str, action: str, resource: str, region: str, keys: dict[str, Any]) -> str | None:
    refused = iam_evaluator.enforce(caller, action, action.split(":")[0], region, resource, keys)
    if refused is None:
        return None
    principal = getattr(refused, "principal_arn", caller)
    if caller in _role_keys:
        denials.append({"caller": principal, "action": action, "resource": resource})
    return f"User: {principal} is not authorized to perform: {action} on resource: {resource}"


def _knowing_invocations(action_of: Callable[..., str | None]) -> Callable[..., str | None]:
    """An invocation is a path of SageMaker's runtime and no JSON target: without this it would not be judged. And a
    conversation with a model of Bedrock takes the permission to invoke it (API reference of Converse).
    """

    def action(service: str, method: str, path: str, *rest: Any) -> str | None:
        if service == "sagemaker" and path.startswith("/endpoints/"):
            return "sagemaker:InvokeEndpoint"
        found = action_of(service, method, path, *rest)
        return _BY_CONVERSATION.get(found, found) if found else None

    return action


def _knowing_sagemaker(extract: Callable[..., str]) -> Callable[..., str]:
    """The emulator knows neither SageMaker, its scaling and imported models, nor several alarms in one call: without
    this, statements on named resources were passed over.
    """

    def resource_of(service: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any) -> str:
        if service == "application-autoscaling":
            return f"arn:aws:application-autoscaling:{router.extract_region(headers)}:{ACCOUNT}:scalable-target/any"
        if service == "monitoring" and body.startswith(b'{"AlarmNames"'):
            (first, *_) = json.loads(body)["AlarmNames"]  # all of one endpoint's, where the product names several
            return f"arn:aws:cloudwatch:{router.extract_region(headers)}:{ACCOUNT}:alarm:{first}"
        if service in ("bedrock", "bedrock-runtime"):
            return bedrock.resource(path, body, router.extract_region(headers))
        if service != "sagemaker":
            return extract(service, method, path, headers, body, *rest)
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        return authorisation.resource(operation, path, body, router.extract_region(headers))

    return resource_of


def _knowing_log_streams(extract: Callable[..., str]) -> Callable[..., str]:
    """CloudWatch Logs asks for a stream where the emulator asks for its group: a list of streams is `…:log-stream:`."""

    def resource_of(service: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any) -> str:
        found = extract(service, method, path, headers, body, *rest)
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        if service != "logs" or operation not in {"GetLogEvents", "DescribeLogStreams"}:
            return found
        return f"{found}:log-stream:{json.loads(body).get('logStreamName', '')}"

    return resource_of


def _with_sagemaker_keys(context_of: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def keys_of(service: str, action: str, body: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
        keys = context_of(service, action, body, parameters)
        if service == "application-autoscaling":
            return keys | scaling.authorisation_keys(body)
        if service == "bedrock":
            return keys | bedrock.conditions(body)
        return keys | authorisation.conditions(action.rpartition(":")[2], body) if service == "sagemaker" else keys

    return keys_of


def _recording(refuse: Callable[..., Any]) -> Callable[..., Any]:
    def refuse_and_record(service: str, action: str, caller: str, *rest: Any, **details: Any) -> Any:
        denials.append({"caller": caller, "action": action, "resource": str(details.get("resource_arn", ""))})
        return refuse(service, action, caller, *rest, **details)

    return refuse_and_record


def _asking_for_the_key(checks_of: Callable[..., list[tuple[str, str]]]) -> Callable[..., list[tuple[str, str]]]:
    """A caller that reads or writes an object of an encrypted bucket also needs permission to use the bucket's key."""

    def checks(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
        asked = checks_of(method, path, headers, body, query)
        bucket, _, key = path.strip("/").partition("/")
        uses = {"GET": ["kms:Decrypt"], "PUT": ["kms:GenerateDataKey"]}.get(method, [])
        if method == "HEAD" and headers.get("x-amz-checksum-mode"):
            uses = ["kms:Decrypt"]  # API reference of HeadObject: with checksum mode
        if method in ("PUT", "POST") and query.keys() & {"uploads", "uploadId"}:
            uses = ["kms:GenerateDataKey", "kms:Decrypt"]  # S3 user guide, "Multipart upload API and permissions"
        if key and query.keys() <= _WHOLE_OBJECT and uses and (encryption_key := _key_of(bucket)):
            asked = [*asked, *((use, encryption_key) for use in uses)]
        copied = unquote(headers.get("x-amz-copy-source", "")).strip("/").partition("/")[0]
        if copied and (encryption_key := _key_of(copied)):
            asked = [*asked, ("kms:Decrypt", encryption_key)]
        return asked

    return checks


def _key_of(bucket: str) -> str | None:
    """ARN of the key that encrypts the bucket, which may be another account's."""
    found = _MASTER_KEY.search(str(s3._bucket_encryption.get(bucket)))
    return found.group(1) if found else elsewhere.key_of_bucket(bucket)


def _by_way_of_s3(resources_of: Callable[[str], Any]) -> Callable[[str], Any]:
    def resources(arn: str) -> Any:
        if arn.startswith("arn:aws:kms:"):
            return [(arn, {"kms:ViaService": f"s3.{arn.split(':')[3]}.amazonaws.com"})]
        return resources_of(arn)

    return resources


def _of_the_resource(policy_of: Callable[..., Any]) -> Callable[..., Any]:
    """The policy of what is asked for: of the key, too, which a call to S3 uses, and of what another account has."""

    def policy(service: str, resource: str) -> Any:
        found = policy_of(resource.split(":")[2] if resource.startswith("arn:") else service, resource)
        return found or elsewhere.foreign_policy(resource)

    return policy


def _naming_the_role(value_of: Callable[..., Any]) -> Callable[..., Any]:
    """aws:PrincipalArn of a session is the ARN of its role (IAM user guide, "Global condition context keys")."""

    def value(key: str, context: Any) -> Any:
        found = value_of(key, context)
        if key.lower() != "aws:principalarn" or ":assumed-role/" not in str(found):
            return found
        account, role = found.split(":")[4], iam_evaluator._role_name_from_assumed_arn(found)
        return f"arn:aws:iam::{account}:role/{role}"

    return value


def checked(application: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The ASGI application, with the switch set for each request by who signed it.

    The loopback interface stands in for TLS, which bucket policies ask for.
    """

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = list(scope.get("headers") or [])
        key = _ACCESS_KEY.search(dict(headers).get(b"authorization", b""))
        if key and key.group(1).decode() in _role_keys:
            _enforced.set(True)
            scope = {**scope, "headers": [*headers, (b"x-forwarded-proto", b"https")]}
        else:
            _enforced.set(False)
        await application(scope, receive, send)

    return answer


def role_session(role_arn: str, session_name: str = "SageMaker", number: str = "") -> tuple[str, str, str]:
    """Access key, secret key and token of a session of the role. The same for the same role, name and number."""
    account = role_arn.split(":")[4]
    digest = hashlib.sha256(f"{role_arn}:{session_name}:{number}".encode()).hexdigest()
    key, secret, token = f"ASIA{digest[:16].upper()}", digest, digest[::-1]
    sts.register_session(
        key,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role_arn.rsplit('/', 1)[-1]}/{session_name}",
            "UserId": f"{role_arn.rsplit('/', 1)[-1]}:{session_name}",
            "SecretAccessKey": secret,
            "SessionToken": token,
        },
    )
    _role_keys.add(key)
    return key, secret, token


def _function_credentials(config: dict[str, Any], number: str = "") -> dict[str, str]:
    key, secret, token = role_session(config["Role"], config["FunctionName"][:64], number)
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}
