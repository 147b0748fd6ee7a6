"""Asks a model imported into Bedrock with LangChain, whole and as a stream, with the environment's AWS credentials.

python with_langchain_bedrock.py MODEL_ARN "How long should I boil an egg?"
"""

import sys

from botocore.config import Config
from langchain_aws import ChatBedrockConverse

model_arn, question = sys.argv[1:]
model = ChatBedrockConverse(
    model=model_arn,
    provider="meta",  # an ARN does not say whose model it is
    temperature=0,
    max_tokens=256,
    # boto3 repeats calls while Bedrock loads a model that nobody called for some minutes
    config=Config(retries={"mode": "standard", "total_max_attempts": 20}),
)

print(model.invoke(question).text)

for piece in model.stream(question):
    print(piece.text, end="", flush=True)
print()
