"""How an endpoint is asked the prompts of an evaluation: figures of the plan, the steps and the state machine."""

ANSWER_TOKENS = 256
"""The longest answer of an evaluation."""

ANSWER_SECONDS = 60
"""SageMaker gives a container no more time for an answer."""

CALLS_AT_ONCE = 5
"""Of one batch of prompts."""

BATCHES_AT_ONCE = 2
"""Of one model: the state machine's MaxConcurrency. An endpoint gets ten calls at once."""

QUESTIONS_PER_PAIR = 2
"""A judge is asked about the tuned and the base model's answer in both orders."""

JUDGE_TOKENS = 16
"""The longest answer of a judge, of whom one word is asked."""

INSTRUCTION_TOKENS = 200
"""Tokens of the instruction to a judge, beside prompt, answers and reference (`judging.INSTRUCTION`), at most."""
