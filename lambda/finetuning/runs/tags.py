"""Every tag this project puts on AWS resources, by name. The infrastructure and the rehearsal use the same names."""

STAGE_TAG = "finetune:stage"
"""On every stack of a stage and on everything its runs create; the monthly budget counts costs by it."""
OWNER_TAG = "finetune:created-by"
"""The stage's prefix. Nothing without it is changed or deleted."""
RUN_TAG = "finetune:run-id"

EULA_TAG = "finetune:eula"
"""The key of the accepted licence text in JumpStart's public bucket."""
EULA_ACCEPTED_BY_TAG = "finetune:eula-accepted-by"
EULA_ACCEPTED_AT_TAG = "finetune:eula-accepted-at"

ENDPOINT_TAG = "finetune:endpoint"
"""On an endpoint configuration, and on an imported model: the endpoint it was created for. An imported model has none;
the name is that under which software finds the model that serves."""
REPLACES_TAG = "finetune:replaces"
"""On an endpoint configuration: the one that served before it."""

OWNERS_TAG = "finetune:owners"
"""On an endpoint and its configurations: the uploads whose runs may replace its model, the owner first."""

TTL_TAG = "finetune:ttl-hours"
"""On an endpoint, as are the following: hours after which it expires, or "never"."""
IDLE_TAG = "finetune:idle-minutes"
"""Minutes without requests after which it expires, or "never"."""
DEPLOYED_TAG = "finetune:deployed-at"
"""`<configuration> <time>`: since when it serves this configuration, as the first sweep found it, or was deployed again
with it. On an imported model, its own name in place of the configuration's."""
KEPT_TAG = "finetune:kept-until"
"""`finetune extend`: it does not expire before this time, whatever its limits are."""
ANNOUNCED_TAG = "finetune:announced"
"""The expiry that the team was notified of."""

RESERVED_PREFIXES = ("aws:", "finetune:", "sagemaker-sdk:", "sagemaker:")
"""No tag of run.json may begin with one of these, in upper or lower case."""
