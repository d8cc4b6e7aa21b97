"""The list of tokens that are denied: what it says, and how it is changed."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from servicekit.rpc.deny_list import DenyList

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def claims(sub: str = "alice", **more: object) -> dict[str, object]:
    return {"sub": sub, "jti": "t-1", "iat": NOON.timestamp(), **more}


def test_a_single_token_is_denied_by_its_id() -> None:
    denied = DenyList().with_token("t-1")
    assert denied.denies(claims())
    assert not denied.denies(claims(jti="t-2"))
    assert not denied.denies({"sub": "alice"})


def test_what_somebody_was_given_before_a_moment_is_denied_and_what_he_got_since_is_not() -> None:
    denied = DenyList().with_subject("alice", NOON)
    assert denied.denies(claims(iat=NOON.timestamp() - 1))
    assert not denied.denies(claims(iat=NOON.timestamp()))
    assert not denied.denies(claims("bob", iat=0))


def test_a_token_that_does_not_say_when_it_was_issued_is_denied_with_the_oldest() -> None:
    assert DenyList().with_subject("alice", NOON).denies({"sub": "alice"})


def test_a_denial_is_never_taken_back_by_another_one() -> None:
    earlier = DenyList().with_subject("alice", NOON).with_subject("alice", NOON - timedelta(days=1))
    assert earlier.issued_before == {"alice": NOON}
    both = earlier.with_token("t-1").with_token("t-2").with_subject("bob", NOON)
    assert both == DenyList(frozenset({"t-1", "t-2"}), {"alice": NOON, "bob": NOON})


def test_what_is_written_is_read_again() -> None:
    local = NOON.astimezone(timezone(timedelta(hours=2)))
    denied = DenyList().with_token("t-1").with_subject("alice", local)
    assert DenyList.read(denied.text()) == denied
    assert '"alice": "2026-11-28T12:00:00Z"' in denied.text()
    assert DenyList.read("{}") == DenyList()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Expecting value"),
        ("[]", "and nothing else"),
        ('{"token": ["t-1"]}', "and nothing else"),
        ('{"tokens": "t-1"}', "should be a list of token ids"),
        ('{"tokens": [1]}', "should be a list of token ids"),
        ('{"issued_before": []}', "should have a time for each subject"),
        ('{"issued_before": {"alice": 1}}', "should be like 2026-11-28T12:00:00Z"),
        ('{"issued_before": {"alice": "2026-11-28T12:00:00"}}', "should be like 2026-11-28T12:00:00Z"),
        ('{"issued_before": {"alice": "noon"}}', "Invalid isoformat"),
    ],
)
def test_what_is_not_clear_is_refused_so_that_no_denial_is_lost(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DenyList.read(text)
