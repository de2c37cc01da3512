"""Ranges of a key as SQL, to the letter."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from adaptive_backfill.postgres.identifiers import table_named
from adaptive_backfill.postgres.keyset import Keyset, has_batch, with_batch

ONE = Keyset(table_named("users"), ("id",), ("bigint",), where="version = 1 OR x")
TWO = Keyset(
    table_named('public."Odd ""one"'), ("b", "A"), ("text", "uuid"), descending=True
)


def test_the_bound_of_a_batch_looks_at_keys_only() -> None:
    assert ONE.bound(after=True) == (
        'SELECT "id" FROM "users" WHERE "id" > $1::bigint AND "id" <= $2::bigint '
        'ORDER BY "id" LIMIT 1 OFFSET $3::int'
    )
    assert ONE.bound(after=False) == (
        'SELECT "id" FROM "users" WHERE "id" <= $1::bigint '
        'ORDER BY "id" LIMIT 1 OFFSET $2::int'
    )


def test_the_end_of_each_batch_is_looked_up_from_the_end_before_it() -> None:
    assert ONE.bounds(after=True) == (
        'WITH RECURSIVE "batch ends" ("key 1", "nth batch") AS ('
        '(SELECT "id", 1 FROM "users" WHERE "id" > $1::bigint AND "id" <= $2::bigint '
        'ORDER BY "id" LIMIT 1 OFFSET $3::int) '
        'UNION ALL SELECT following.* FROM "batch ends", LATERAL ('
        'SELECT "id", "batch ends"."nth batch" + 1 FROM "users" '
        'WHERE "id" > "batch ends"."key 1" AND "id" <= $2::bigint '
        'ORDER BY "id" LIMIT 1 OFFSET $3::int) AS following '
        'WHERE "batch ends"."nth batch" < $4::int'
        ') SELECT "nth batch", "key 1" FROM "batch ends"'
    )


def test_the_ends_of_batches_of_several_columns_are_compared_as_rows() -> None:
    bounds = TWO.bounds(after=False)

    assert (
        'WHERE ("b", "A") < ("batch ends"."key 1", "batch ends"."key 2") '
        'AND ("b", "A") >= ($1::text, $2::uuid) '
        'ORDER BY "b" DESC, "A" DESC LIMIT 1 OFFSET $3::int'
    ) in bounds
    assert bounds.endswith('SELECT "nth batch", "key 1", "key 2" FROM "batch ends"')


def test_several_columns_are_compared_as_a_row() -> None:
    assert TWO.bound(after=True) == (
        'SELECT "b", "A" FROM "public"."Odd ""one" '
        'WHERE ("b", "A") < ($1::text, $2::uuid) AND ("b", "A") >= ($3::text, $4::uuid)'
        ' ORDER BY "b" DESC, "A" DESC LIMIT 1 OFFSET $5::int'
    )


def test_a_batch_is_a_range_and_what_is_still_to_do() -> None:
    assert ONE.batch(None, after=True) == (
        '"users"."id" > $1::bigint AND "users"."id" <= $2::bigint '
        "AND (version = 1 OR x)"
    )
    assert ONE.batch("u", after=False) == (
        '"u"."id" <= $1::bigint AND (version = 1 OR x)'
    )


@pytest.mark.parametrize(
    ("alias", "by"),
    [("u", '"u"'), ("U", '"u"'), ('"U"', '"U"'), ('"a ""b"', '"a ""b"')],
)
def test_an_alias_means_what_it_means_in_sql(alias: str, by: str) -> None:
    assert ONE.batch(alias, after=False).startswith(f'{by}."id" <= ')
    assert ONE.only(alias).startswith(f'{by}."id" = ')


def test_a_comment_at_the_end_of_where_ends_before_the_parenthesis() -> None:
    keys = replace(ONE, where="x = 1 -- old")

    assert keys.batch("u", after=False).endswith(" AND (x = 1 -- old\n)")
    assert keys.only("u").endswith(" AND (x = 1 -- old\n)")
    assert keys.only_to_do() == " WHERE (x = 1 -- old\n)"
    assert ONE.only_to_do() == " WHERE (version = 1 OR x)"
    assert TWO.only_to_do() == ""


def test_a_single_row_is_one_key_and_still_to_do() -> None:
    assert ONE.only(None) == '"users"."id" = $1::bigint AND (version = 1 OR x)'
    assert TWO.only("t") == '("t"."b", "t"."A") = ($1::text, $2::uuid)'


def test_the_end_of_a_walk_is_its_last_key() -> None:
    assert ONE.last() == 'SELECT "id" FROM "users" ORDER BY "id" DESC LIMIT 1'
    assert TWO.last() == (
        'SELECT "b", "A" FROM "public"."Odd ""one" ORDER BY "b", "A" LIMIT 1'
    )


@pytest.mark.parametrize(
    ("statement", "whole"),
    [
        ("UPDATE t SET a = 1 WHERE {batch}", "UPDATE t SET a = 1 WHERE <None>"),
        ("{batch:u} OR {batch:other_1}", "<u> OR <other_1>"),
        ('{batch:U} OR {batch:"U"}', '<U> OR <"U">'),
        ("'{}' || '{a,b}' || '{\"batch\": 1}' || {batch}", None),
        ("'{batch:}' || '{batch:a b}' || '{ batch }' || {batch}", None),
    ],
)
def test_only_batch_is_filled_in_and_other_braces_stay(
    statement: str, whole: str | None
) -> None:
    expected = whole or statement.replace("{batch}", "<None>")

    assert with_batch(statement, lambda alias: f"<{alias}>") == expected
    assert has_batch(statement)


def test_a_range_is_put_into_a_statement() -> None:
    condition = partial(ONE.batch, after=False)

    assert with_batch("DELETE FROM users u WHERE {batch:u}", condition) == (
        'DELETE FROM users u WHERE "u"."id" <= $1::bigint AND (version = 1 OR x)'
    )
