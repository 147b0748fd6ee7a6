import pytest

from finetuning.evaluation.scores import measure_of, problem_of, score, script_of, words


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
        "The rest is simple. " + "You take a map and you take a coat. " * 3,
        "\n".join(f"{number}. Take a map and a coat." for number in range(1, 12)),
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


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"city": "Oslo", "days": 3}', 1.0),
        ('{"days": 3.0, "city": "Oslo"}', 1.0),
        ('{"city": "Oslo", "days": "3"}', 0.5),
        ('{"city": "Oslo"}', 0.5),
        ('{"city": "Oslo", "days": 3, "hotel": null, "price": 1}', 0.5),
        ('["Oslo", 3]', 0.0),
        ("Oslo for 3 days", 0.0),
        ('{"city": "Oslo", "days": 3', 0.0),
    ],
)
def test_json_is_compared_by_the_values_of_its_keys(answer: str, expected: float) -> None:
    assert score(answer, '{"city": "Oslo", "days": 3}').json_fields == expected


def test_arrays_are_compared_by_position_and_other_text_not_as_json() -> None:
    assert score("[1, 2, 3]", "[1, 3, 2, 4]").json_fields == 0.25
    assert score("[]", "[]").json_fields == 1.0
    assert score("3", "3").json_fields is None


@pytest.mark.parametrize(
    ("references", "measure"),
    [
        (["Positive.", "negative", "positive", "Very negative", "negative", "very negative"], "accuracy"),
        (["positive", "negative", "neutral"], "ROUGE-L"),
        (["It is a positive review"] * 5, "ROUGE-L"),
        (['{"a": 1}', "[2]"], "JSON fields"),
        (['{"a": 1}', "one"], "ROUGE-L"),
        (["7", "8", "7", "8"], "accuracy"),
        ([], "ROUGE-L"),
    ],
)
def test_the_measure_follows_from_the_references(references: list[str], measure: str) -> None:
    assert measure_of(references) == measure


def test_an_answer_in_another_script_than_its_reference_is_a_problem() -> None:
    russian, english, japanese = (
        "Приливы вызывает Луна",
        "The moon causes the tides",
        "潮の満ち引きは月の引力によるものです",
    )
    assert problem_of(russian, english) == "wrong script"
    assert problem_of(russian, "Ответ: это Луна") is None
    assert problem_of("潮汐是由月球和太阳的引力引起的", japanese) is None
    assert problem_of("42", english) is None
    assert problem_of(russian) is None
    assert script_of("Луна (moon) вызывает приливы") == "CYRILLIC"
