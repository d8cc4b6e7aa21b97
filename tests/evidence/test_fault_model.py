"""The model of a fault run finds what is wrong, and lets what nobody can know be as it is."""

from dataclasses import replace

import pytest

from bridgeservice.v1.credentials_pb2 import Credentials
from keyservice.v1.api_key_pb2 import ApiKey
from tests.evidence.crash_findings import columns_of
from tests.evidence.fault_model import Change, Model, Row
from tests.evidence.fault_steps import SLOTS
from tests.support.key_service import new_credentials

SLOT = SLOTS[0]


@pytest.fixture
def contents() -> Credentials:
    return new_credentials()


@pytest.fixture
def model(contents: Credentials) -> Model:
    """One that heard of a key at revision 5."""
    model = Model()
    assert model.is_new(contents)
    model.hear(SLOT, ApiKey(id="k", revision=5, key_hint=contents.api_key[-4:]))
    return model


@pytest.fixture
def row(contents: Credentials) -> Row:
    """As the database should have it."""
    return Row("k", SLOT, 5, deleted=False, disabled=False, opened=columns_of(contents))


def test_a_row_that_is_as_it_was_told_is_right(model: Model, row: Row) -> None:
    model.resolve([row])
    # Its revision may be drawn anew, where the bridge remembers a higher one.
    model.resolve([replace(row, revision=7)])
    assert model.findings == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"key_id": "another"}, "is lost"),
        ({"key_id": "another"}, "is a key that nobody added"),
        ({"revision": 4}, "had revision 5 already"),
        ({"deleted": True}, "is deleted, which nobody asked for"),
        ({"deleted": True, "revision": 6}, "is deleted, which nobody asked for"),
        ({"disabled": True, "revision": 6}, "is disabled, which nobody asked for"),
        ({"opened": {}, "revision": 6}, "has credentials that it should not have"),
    ],
)
def test_a_row_that_differs_is_found(model: Model, row: Row, wrong: dict[str, object], told: str) -> None:
    model.resolve([replace(row, **wrong)])  # type: ignore[arg-type]  # each is of its field's type
    assert any(told in finding for finding in model.findings), model.findings


@pytest.mark.parametrize("came_about", [True, False])
def test_what_got_no_answer_may_have_come_about_or_not(model: Model, row: Row, came_about: bool) -> None:
    rotated, added = new_credentials(), new_credentials()
    model.keys["k"].unknown += [Change(contents=rotated), Change(disabled=True)]
    model.unknown_additions.append((SLOT, added))
    rows = [row]
    if came_about:
        rows = [
            replace(row, revision=8, disabled=True, opened=columns_of(rotated)),
            replace(row, key_id="n", opened=columns_of(added)),
        ]
    model.resolve(rows)
    assert model.findings == []
    assert model.is_certain(SLOT)
    assert (model.keys["k"].state.contents == rotated) == came_about
    assert ("n" in model.keys) == came_about


def test_two_answers_that_say_different_things_of_one_revision_are_found(
    model: Model, contents: Credentials
) -> None:
    model.hear(SLOT, ApiKey(id="k", revision=4, disabled=True))
    assert model.findings == []
    model.hear(SLOT, ApiKey(id="k", revision=5, disabled=True, key_hint=contents.api_key[-4:]))
    assert len(model.findings) == 1
