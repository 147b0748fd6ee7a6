"""Asks an endpoint with LangChain, whole and as a stream.

OPENAI_API_KEY=$(finetune token faq) python with_langchain.py BASE_URL "How long should I boil an egg?"
"""

import os
import sys

from json_lines import http_client
from langchain_openai import ChatOpenAI

base_url, question = sys.argv[1:]
model = ChatOpenAI(
    model="",
    base_url=base_url,
    api_key=os.environ["OPENAI_API_KEY"],
    temperature=0,
    extra_body={"max_tokens": 256},  # LangChain's own max_tokens is sent under another name, which the server ignores
    http_client=http_client(),
)

print(model.invoke(question).content)

for piece in model.stream(question):
    print(piece.content, end="", flush=True)
print()
