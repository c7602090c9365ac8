"""What looks like a secret, the home and the login name do not get into a record; what only looks a bit like it does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.pipeline.records.masking import Places, masked, places_of


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["fit", "--token=abc"], ["fit", "--token=***"]),
        (["fit", "--token", "abc", "x"], ["fit", "--token", "***", "x"]),
        (["fit", "--api-key", "k", "-v"], ["fit", "--api-key", "***", "-v"]),
        (["fit", "--auth-token", "-v"], ["fit", "--auth-token", "-v"]),
        (["fit", "--auth=me:x"], ["fit", "--auth=***"]),
        (["env", "HF_TOKEN=x", "python"], ["env", "HF_TOKEN=***", "python"]),
        (["fit", "--password=a b c"], ["fit", "--password=***"]),
        (["fit", "a=token=3"], ["fit", "a=token=***"]),
        (["python", "-c", "x = 1; token='abc'; go()"], ["python", "-c", "x = 1; token='***'; go()"]),
        (["python", "-c", "os.environ['API_KEY'] = 'abc'"], ["python", "-c", "os.environ['API_KEY'] = '***'"]),
        (["fit", '{"password": "x", "n": 3}'], ["fit", '{"password": "***", "n": 3}']),
        (["curl", "-H", "Authorization: Bearer abc.def"], ["curl", "-H", "Authorization: Bearer ***"]),
        (["curl", "https://me:word@h.org/x?sig=1"], ["curl", "https://h.org/x"]),
        (["x", f"ghp_{'a' * 36}"], ["x", "***"]),
        (["x", f"key-{'a' * 5} hf_{'b' * 30}"], ["x", "key-aaaaa ***"]),
        (["x", "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END"], ["x", "***"]),
    ],
)
def test_a_value_that_looks_like_a_secret_is_hidden(words: list[str], kept: list[str]) -> None:
    assert list(masked(words)) == kept


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "--tokenizer=bert", "--max-tokens", "100", "--tokens=3"],
        ["fit", "--author", "me", "--secret-file=/a", "python=3.10", "a:b"],
        ["python", "-c", "print('a b', 1)", "", "é", "\n", "\udcff"],
        ["fit", "--key=value", "sk-short"],
    ],
)
def test_other_words_stay_as_they_are(words: list[str]) -> None:
    assert list(masked(words)) == words


def test_very_long_commands_are_cut_and_a_secret_in_them_is_hidden() -> None:
    words = masked(["--token=" + "s" * 10_000, "x" * 10_000, *["y"] * 2000])
    assert words[0] == "--token=***"
    assert len(words[1]) == 4097
    assert words[-1] == "… and 1002 more words"
    assert len(words) == 1001


@given(st.lists(st.text(max_size=50) | st.text("-=:'token \"authorization://@?", max_size=60), max_size=5))
def test_whatever_the_words_are_as_many_come_back(words: list[str]) -> None:
    assert len(masked(words)) == len(words)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/home/jd", "~"),
        ("/home/jd/x y", "~/x y"),
        ("--out=/home/jd/x", "--out=~/x"),
        ("-I/home/jd/include", "-I~/include"),
        ("a:/home/jd:/b", "a:~:/b"),
        ("open('/home/jd/x.fits')", "open('~/x.fits')"),
        ("/real/home/jd/x", "~/x"),
        ("/home/jd2/x", "/home/jd2/x"),
        ("/home/jd.old/x", "/home/jd.old/x"),
        ("/mnt/home/jd/x", "/mnt/home/$USER/x"),
        ("/fred/oz999/jd/x", "/fred/oz999/$USER/x"),
        ("jd", "jd"),
    ],
)
def test_the_home_and_the_login_name_in_a_path_are_written_for_all(text: str, kept: str) -> None:
    assert Places(["/home/jd", "/real/home/jd/", "", "/"], "jd").out_of(text) == kept


def test_the_home_of_the_variables_counts_and_root_is_a_folder_s_name_too() -> None:
    assert places_of({"HOME": "/elsewhere/me"}).out_of("/elsewhere/me/x") == "~/x"
    assert Places(["/root"], "root").out_of("/data/root/x /root/x") == "/data/root/x ~/x"
