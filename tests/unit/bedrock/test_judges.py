"""How a judge's id is read, and what it costs."""

import pytest

from finetuning.bedrock.judges import TokenPrice, foundation_model, is_profile, token_price


@pytest.mark.parametrize(
    ("judge", "model"),
    [
        ("us.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("apac.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5-20251001-v1:0"),
    ],
)
def test_an_inference_profile_is_known_by_its_geography(judge: str, model: str) -> None:
    assert is_profile(judge)
    assert foundation_model(judge) == model


@pytest.mark.parametrize(
    "judge", ["amazon.nova-pro-v1:0", "zai.glm-4.7", "ai21.jamba-1-5-mini-v1:0", "qwen.qwen3-32b-v1:0"]
)
def test_a_model_is_its_own_foundation_model(judge: str) -> None:
    assert not is_profile(judge)
    assert foundation_model(judge) == judge


def test_a_price_is_that_of_the_very_id_and_says_where_it_is_from() -> None:
    here, profile = (
        token_price("amazon.nova-2-lite-v1:0", "us-east-1"),
        token_price("us.amazon.nova-2-lite-v1:0", "us-east-1"),
    )
    assert here
    assert profile
    assert (here.read, here.written) == (0.3, 2.5)
    assert (profile.read, profile.written) == (0.33, 2.75)
    assert here.source == "the table of prices in LiteLLM 1.110.2, for us-east-1"
    elsewhere = token_price("amazon.nova-2-lite-v1:0", "eu-west-1")
    assert elsewhere
    assert elsewhere.source.endswith("for us-east-1, assumed for eu-west-1")


def test_a_price_that_is_not_known_is_not_guessed() -> None:
    assert token_price("amazon.nova-pro-v9:0", "us-east-1") is None
    assert token_price("jp.amazon.nova-pro-v1:0", "us-east-1") is None


def test_a_call_costs_by_what_is_read_and_written() -> None:
    assert TokenPrice(read=2, written=10).usd(500_000, 100_000) == pytest.approx(2.0)
