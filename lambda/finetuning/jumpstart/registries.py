"""The registries from which a job or a model may take its image: AWS's Deep Learning Containers.

IAM has no condition on an image, so it is checked where requests are built. Source of the accounts: the SageMaker SDK's
`image_uri_config/djl-lmi.json`; the training images of JumpStart's documents are in the same ones.
"""

import re

_USUAL = "763104351884"
_BY_REGION = {
    "af-south-1": "626614931356",
    "ap-east-1": "871362719292",
    "ap-northeast-3": "364406365360",
    "ap-southeast-3": "907027046896",
    "ca-west-1": "204538143572",
    "cn-north-1": "727897471807",
    "cn-northwest-1": "727897471807",
    "eu-south-1": "692866216735",
    "il-central-1": "780543022126",
    "me-central-1": "914824155844",
    "me-south-1": "217643126080",
    "us-gov-east-1": "446045086412",
    "us-gov-west-1": "442386744353",
}
_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/[\w./-]+[:@][\w.:-]+")


def is_from_aws(image: str, region: str) -> bool:
    """True for an image of AWS's registry in that region. A region that is not listed has the usual account."""
    found = _IMAGE.fullmatch(image)
    return found is not None and found.groups() == (_BY_REGION.get(region, _USUAL), region)
