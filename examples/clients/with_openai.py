"""Asks an endpoint with OpenAI's client, whole and as a stream.

OPENAI_API_KEY=$(finetune token faq) python with_openai.py BASE_URL "How long should I boil an egg?"
"""

import os
import sys

from json_lines import http_client
from openai import OpenAI

base_url, question = sys.argv[1:]
client = OpenAI(base_url=base_url, api_key=os.environ["OPENAI_API_KEY"], http_client=http_client())
messages = [{"role": "user", "content": question}]

answer = client.chat.completions.create(model="", messages=messages, max_tokens=256, temperature=0)
print(answer.choices[0].message.content)

for chunk in client.chat.completions.create(model="", messages=messages, max_tokens=256, temperature=0, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
