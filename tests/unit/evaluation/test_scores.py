import pytest

from finetuning.evaluation.scores import problem_of, score, words


def test_the_same_words_in_the_same_order_are_an_exact_match_whatever_their_case_and_punctuation() -> None:
    scores = score("The sea, the SEA!", "the sea the sea")
    assert (scores.rouge_l, scores.exact_match) == (1.0, 1.0)


def test_the_same_words_in_another_order_score_lower() -> None:
    scores = score("d c b a", "a b c d")
    assert (scores.rouge_l, scores.exact_match) == (0.25, 0.0)


def test_rouge_l_matches_lins_example() -> None:
    # Lin 2004, section 3.2: the longest common subsequence of both sentences with the first has three and two words.
    reference = "police killed the gunman"
    assert score("police kill the gunman", reference).rouge_l == 0.75
    assert score("the gunman kill police", reference).rouge_l == 0.5


def test_rouge_l_weights_precision_and_recall_equally() -> None:
    assert score("a b", "a b c d").rouge_l == score("a b c d", "a b").rouge_l == 0.667


def test_an_answer_without_words_scores_zero() -> None:
    scores = score("…", "a reference")
    assert (scores.rouge_l, scores.exact_match) == (0.0, 0.0)


def test_chinese_is_compared_by_character() -> None:
    assert words("我爱AI模型") == ["我", "爱", "ai", "模", "型"]


@pytest.mark.parametrize(
    "answer",
    [
        "the " * 30,
        "a" * 200,
        "！" * 50,
        "I do not know. " * 60,
        "of course " * 15 + "of",
    ],
)
def test_an_answer_that_repeats_itself_is_repetitive(answer: str) -> None:
    assert problem_of(answer) == "repetitive"


@pytest.mark.parametrize("answer", ["", "   ", "\n\t\n"])
def test_an_answer_of_white_space_is_empty(answer: str) -> None:
    assert problem_of(answer) == "empty"


@pytest.mark.parametrize(
    "answer",
    [
        "Yes.",
        "no no no",
        "Ha ha ha ha ha!",
        "Tides come from the moon's pull on the sea, and from the sun's; the two together make spring tides.",
        "潮汐是由月球和太阳的引力引起的，海水因此每天涨落两次，沿海居民很早就知道这一点。",
        "https://example.com/" + "abcdefghijklmnopqrstuvwxyz0123456789" * 3,
    ],
)
def test_an_ordinary_answer_has_no_problem(answer: str) -> None:
    assert problem_of(answer) is None
