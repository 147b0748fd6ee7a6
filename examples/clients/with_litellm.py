"""Asks an endpoint with LiteLLM, whole and as a stream.

OPENAI_API_KEY=$(finetune token faq) python with_litellm.py BASE_URL "How long should I boil an egg?"
"""

import os
import sys

import litellm
from json_lines import http_client

base_url, question = sys.argv[1:]
litellm.client_session = http_client()
asked = {
    "model": "openai/",  # the protocol; the address names the model
    "api_base": base_url,
    "api_key": os.environ["OPENAI_API_KEY"],
    "messages": [{"role": "user", "content": question}],
    "max_tokens": 256,
    "temperature": 0,
}

print(litellm.completion(**asked).choices[0].message.content)

for chunk in litellm.completion(**asked, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
