"""What a request must look like: the edges of each check, and words that help without telling a secret."""

import secrets
from enum import Enum
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.catalogue import Catalogue
from servicekit.credentials import Credentials
from servicekit.errors import InvalidArgument, Violation
from servicekit.validation import EXTRA_CREDENTIALS, LONGEST_CREDENTIAL, Violations, required_id

CATALOGUE = Catalogue.load()
LONGEST_LABEL = 64


class Environment(Enum):
    """As each service has one, with values of its own."""

    LIVE = 1
    SANDBOX = 2


PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----"

NEWLINE = "begins or ends with a newline, probably pasted along with it; remove it"
SPACE = "begins or ends with white space, probably pasted along with it; remove it"
INSIDE = "has a control character, such as a newline, in it; was it pasted in several lines?"
INVISIBLE = "has an invisible character in it, probably pasted along with it; remove it"
UNSEEN = "has an invisible character in it, such as a zero-width space or a mark of writing direction"


def found(check: Violations) -> tuple[Violation, ...]:
    """What was collected."""
    try:
        check.refuse()
    except InvalidArgument as error:
        return error.violations
    return ()


def complaints(credentials: Credentials) -> dict[str, str]:
    check = Violations()
    check.credentials("credentials", credentials)
    return {violation.field: violation.description for violation in found(check)}


def missing(exchange: str, credentials: Credentials) -> list[str]:
    check = Violations()
    check.complete("credentials", credentials, CATALOGUE.find(exchange))
    return [violation.field for violation in found(check)]


def test_a_request_with_nothing_wrong_is_not_refused() -> None:
    Violations().refuse()


def test_the_message_names_each_field_once_and_the_violations_are_all_there() -> None:
    check = Violations()
    check.add("b", "one")
    check.add("a", "two")
    check.add("b", "three")
    with pytest.raises(InvalidArgument, match=r"^The request is not valid: see b, a\.$") as caught:
        check.refuse()
    assert [each.description for each in caught.value.violations] == ["one", "two", "three"]


@given(st.uuids())
def test_a_uuid_is_taken_in_small_letters_and_in_capitals(value: UUID) -> None:
    assert required_id("id", str(value)) == value
    assert required_id("id", str(value).upper()) == value


@pytest.mark.parametrize("spelt", ["{}", "urn:uuid:{}", "{{{}}}", " {}", "{}\n", "7"])
def test_another_spelling_of_a_uuid_is_refused(spelt: str) -> None:
    value = spelt.format(uuid4().hex if spelt == "{}" else uuid4())
    with pytest.raises(InvalidArgument) as caught:
        required_id("id", value)
    [violation] = caught.value.violations
    assert violation.description.startswith("is not a UUID such as ")


def test_an_id_may_be_left_out_only_where_it_is_optional() -> None:
    check = Violations()
    assert check.optional_id("client_id", "") is None
    assert found(check) == ()
    check.id("client_id", "")
    assert found(check) == (Violation("client_id", "is required"),)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("x" * LONGEST_LABEL, None),
        ("", None),
        ("two words", None),
        ("Größe 日本 🙂", None),
        ("x" * (LONGEST_LABEL + 1), "is 65 characters long; at most 64 are allowed"),
        ("a\nb", "has a control character, such as a newline or a tab, in it"),
        ("a\x7fb", "has a control character, such as a newline or a tab, in it"),
        ("a\0", "has a control character, such as a newline or a tab, in it"),
        ("\u200b", UNSEEN),
        ("a\u202eb", UNSEEN),
        ("a\u2028b", UNSEEN),
        (" a", "has white space at its beginning or end"),
        ("a\u2003", "has white space at its beginning or end"),
    ],
)
def test_a_line_for_people_is_just_that(value: str, complaint: str | None) -> None:
    check = Violations()
    assert check.text("label", value, longest=LONGEST_LABEL) == value
    assert [each.description for each in found(check)] == ([complaint] if complaint else [])


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_what_is_required_is_not_blank(value: str) -> None:
    check = Violations()
    check.text("name", value, longest=10, required=True)
    assert found(check) == (Violation("name", "is required"),)


def test_a_mask_names_fields_or_means_those_that_are_set() -> None:
    check = Violations()
    assert check.mask([], {"a": "x", "b": True, "c": False, "d": ""}) == {"a", "b"}
    assert check.mask(["b", "b"], {"a": "x", "b": ""}) == {"b"}
    assert found(check) == ()
    check.mask(["a", "c" * 100], {"b": "", "a": ""})
    [violation] = found(check)
    assert violation.field == "update_mask"
    assert violation.description.endswith("can't be changed; the fields are a, b")
    assert len(violation.description) < 140


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("{}", None),
        ("with inner {} space", None),
        ("\ufeff{}", INVISIBLE),
        ("{}\u200b", INVISIBLE),
        ("in\u2028{}", INVISIBLE),
        ("{}\n", NEWLINE),
        ("\r\n{}", NEWLINE),
        ("\n{}\n\n", NEWLINE),
        ("{} ", SPACE),
        ("\t{}", SPACE),
        ("{} \n", SPACE),
        ("{}\u00a0", SPACE),
        ("a\n{}", INSIDE),
        ("a\0{}", INSIDE),
        ("\x1b{}", INSIDE),
        ("a\x85{}", INSIDE),
    ],
)
def test_a_secret_that_was_pasted_wrongly_is_told_how(value: str, complaint: str | None) -> None:
    secret = secrets.token_hex(16)
    told = complaints(Credentials(api_secret=value.format(secret)))
    assert told == ({"credentials.api_secret": complaint} if complaint else {})


def test_a_secret_is_at_most_so_long() -> None:
    assert complaints(Credentials(api_key="k" * LONGEST_CREDENTIAL)) == {}
    assert complaints(Credentials(api_key="k" * (LONGEST_CREDENTIAL + 1))) == {
        "credentials.api_key": "is 4097 characters long; at most 4096 are allowed"
    }


def test_a_private_key_may_have_lines_and_nothing_else_may() -> None:
    for key in (PEM, PEM.replace("\n", "\r\n")):
        assert complaints(Credentials(extra={"privateKey": key})) == {}
    assert complaints(Credentials(extra={"privateKey": PEM + "\n"})) == {
        "credentials.extra[privateKey]": NEWLINE
    }
    assert complaints(Credentials(api_secret=PEM.replace("\n", "\n\t"))) == {"credentials.api_secret": INSIDE}


def test_an_extra_credential_has_one_of_ccxts_names_and_a_value() -> None:
    assert complaints(Credentials(extra=dict.fromkeys(EXTRA_CREDENTIALS, "v"))) == {}
    assert complaints(Credentials(extra={"uid": ""})) == {"credentials.extra[uid]": "is empty"}


def test_an_unknown_extra_name_is_not_repeated_since_it_may_be_a_secret() -> None:
    secret = secrets.token_hex(16)
    told = complaints(Credentials(extra={secret: "uid", "api_key": "v"}, api_key="k"))
    assert list(told) == ["credentials.extra"]
    assert secret not in str(told)


@given(
    st.text(alphabet=st.characters(categories=["Cc", "Zs", "L"]), min_size=1).map(
        lambda noise: "S3CR" + noise + "3T!!" + noise
    )
)
def test_no_complaint_repeats_any_of_the_value(value: str) -> None:
    told = str(complaints(Credentials(api_key=value, extra={value: value, "uid": value})))
    assert "S3CR" not in told
    assert "3T!!" not in told


def test_what_is_missing_is_named_by_where_it_belongs() -> None:
    assert missing("ndax", Credentials()) == [
        "credentials.api_key",
        "credentials.api_secret",
        "credentials.passphrase",
        "credentials.extra[uid]",
        "credentials.extra[login]",
    ]
    assert missing("ndax", Credentials(api_key="k", extra={"uid": "u", "login": ""})) == [
        "credentials.api_secret",
        "credentials.passphrase",
        "credentials.extra[login]",
    ]
    assert missing("paper", Credentials()) == []
    assert missing("bitmart", Credentials()) == []


def test_an_exchange_is_found_by_any_of_its_names() -> None:
    check = Violations()
    for name in ("gate", "gateio", "GATEIO"):
        exchange = check.exchange("exchange", name, CATALOGUE)
        assert exchange is not None
        assert exchange.id == "gate"
    assert found(check) == ()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "is required"),
        ("binanse", "is not an exchange that is served; did you mean binance"),
        ("BitMart", "BitMart can no longer be served"),
        ("?", "is not an exchange that is served; ListExchanges of the bridge names all"),
        ("x" * 10_000, "is not an exchange"),
        ("a\nb", "is not an exchange"),
    ],
)
def test_an_exchange_that_is_not_served_is_told_with_help(name: str, complaint: str) -> None:
    check = Violations()
    assert check.exchange("exchange", name, CATALOGUE) is None
    [violation] = found(check)
    assert violation.description.startswith(complaint)
    assert len(violation.description) < 200


def test_a_test_net_is_asked_for_only_where_there_is_one() -> None:
    check = Violations()
    for name in ("kraken", "binance"):
        check.environment("environment", Environment.LIVE, CATALOGUE.find(name))
    check.environment("environment", Environment.SANDBOX, CATALOGUE.find("binance"))
    check.environment("environment", Environment.SANDBOX, None)
    assert found(check) == ()
    check.environment("environment", Environment.SANDBOX, CATALOGUE.find("kraken"))
    assert found(check) == (Violation("environment", "kraken has no test net; use LIVE"),)


@pytest.mark.parametrize(("asked", "given_size"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000)])
def test_a_page_has_fifty_rows_unless_asked_otherwise(asked: int, given_size: int) -> None:
    check = Violations()
    assert check.page_size(asked) == given_size
    assert found(check) == ()


def test_a_negative_page_size_is_refused() -> None:
    check = Violations()
    check.page_size(-1)
    assert found(check) == (Violation("page_size", "is negative; 0 stands for 50"),)
