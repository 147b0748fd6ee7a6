"""Asks a model imported into Bedrock with LiteLLM. With the AWS credentials of the environment.

python with_litellm_bedrock.py MODEL_ARN "How long should I boil an egg?"
"""

import sys
import time

import litellm

model_arn, question = sys.argv[1:]
litellm.suppress_debug_info = True  # or LiteLLM prints advice on each refusal while the model is loaded

until = time.monotonic() + 300
while True:
    try:
        answer = litellm.completion(
            model=f"bedrock/openai/{model_arn}",
            messages=[{"role": "user", "content": question}],
            max_tokens=256,
            temperature=0,
        )
        break
    except litellm.RateLimitError:  # Bedrock is loading the model, which nobody called for a while
        if time.monotonic() > until:
            raise
        time.sleep(5)
print(answer.choices[0].message.content)
