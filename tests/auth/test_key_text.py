"""The text of a key."""

import re
from math import log2

from libs.events.auth_calls import is_key_shaped
from libs.runtime.secrets import keyed_hash
from services.auth.key_text import deployment_key_id, fresh_key, is_intact, mask, new_key_id
from tests.auth.samples import PEPPER


def test_a_key_says_its_id_and_holds_190_secret_bits() -> None:
    key_id = new_key_id()
    fresh = fresh_key(PEPPER, key_id)
    found = re.fullmatch(r"sk-([0-9A-Za-z]{12})([0-9A-Za-z]{32})[0-9A-Za-z]{6}", fresh.text)
    assert found is not None
    assert "key_" + found[1] == key_id == fresh.id
    assert len(found[2]) * log2(62) > 190
    assert is_key_shaped(fresh.text)


def test_two_secrets_of_a_key_have_nothing_in_common_but_its_id() -> None:
    first, second = fresh_key(PEPPER, "key_root"), fresh_key(PEPPER, "key_root")
    assert first.text[:15] == second.text[:15]
    assert first.text[15:47] != second.text[15:47]


def test_what_is_stored_is_a_keyed_hash() -> None:
    fresh = fresh_key(PEPPER, new_key_id())
    assert fresh.hash == keyed_hash(PEPPER, fresh.text) != keyed_hash(b"another pepper", fresh.text)
    assert fresh.text not in fresh.hash + fresh.masked + fresh.id


def test_a_masked_key_shows_five_characters_at_each_end() -> None:
    assert mask("sk-abcdefghijklmnopqrstuvwxyz012345") == "sk-abcde********12345"


def test_the_checksum_finds_every_changed_character() -> None:
    text = fresh_key(PEPPER, new_key_id()).text
    assert is_intact(text)
    for place in range(3, len(text)):
        other = "x" if text[place] != "x" else "y"
        assert not is_intact(text[:place] + other + text[place + 1 :])


def test_what_has_another_form_is_not_intact() -> None:
    text = fresh_key(PEPPER, new_key_id()).text
    assert not any(map(is_intact, ("", "sk-", text[:-1], text + "0", text.upper(), "pk-" + text[3:], text + "\n")))


def test_a_deployment_has_one_key_id() -> None:
    assert deployment_key_id("d-1") == deployment_key_id("d-1") != deployment_key_id("d-2")
    assert re.fullmatch(r"key_[0-9A-Za-z]{12}", deployment_key_id("d-1"))


def test_only_visible_ascii_of_32_to_256_characters_is_key_shaped() -> None:
    assert is_key_shaped("sk-" + "a" * 29)
    assert is_key_shaped("sk-" + "-_.~!" * 10)
    for text in ("", "sk-" + "a" * 28, "sk-" + "a" * 254, "pk-" + "a" * 40, "sk-" + "ä" * 40, "sk-" + "\udcff" * 40):
        assert not is_key_shaped(text)
    for inside in " \n\x00\x7f":
        assert not is_key_shaped("sk-" + "a" * 20 + inside + "a" * 20)
    assert not is_key_shaped("sk-" + "a" * 40 + "\n")
