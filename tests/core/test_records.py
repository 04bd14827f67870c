"""Copies of records, and mappings that change an entry at a time."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest

from rollproof.core.records import Overlay, put, replace, without
from rollproof.core.task import Task


def test_record_is_copied_with_changes_and_refuses_what_it_has_not() -> None:
    task = Task("t", "d", "x:1", "a", 0.0)
    assert replace(task, address="h:1") == Task("t", "d", "x:1", "a", 0.0, address="h:1")
    assert task.address == ""
    with pytest.raises(TypeError, match="Task has no field adress"):
        replace(task, adress="h:1")


def test_overlay_holds_what_a_dict_would_hold_and_is_never_changed() -> None:
    random = Random(5)
    plain: Mapping[int, int] = {}
    laid: Mapping[int, int] = Overlay({})
    kept: list[tuple[Mapping[int, int], Mapping[int, int]]] = []
    for step in range(3_000):
        key = random.randrange(200)
        if random.random() < 0.3:
            plain, laid = without(plain, key), without(laid, key)
        else:
            plain, laid = put(plain, key, step), put(laid, key, step)
        assert (key in laid, laid.get(key)) == (key in plain, plain.get(key))
        if step % 100 == 0:
            kept.append((plain, laid))
    for was, still in kept:
        assert list(still.items()) == list(was.items())
        assert (list(still), len(still), list(still.values())) == (list(was), len(was), list(was.values()))
        assert still.keys() == was.keys()


def test_entry_that_comes_back_stands_behind_all_others() -> None:
    laid = Overlay({1: "a", 2: "b"}).without_entry(1)
    assert list(laid.with_entry(1, "c").items()) == [(2, "b"), (1, "c")]
    assert laid.without_entry(7) is laid
    with pytest.raises(KeyError):
        laid[1]
