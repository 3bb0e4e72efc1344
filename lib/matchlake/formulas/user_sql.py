"""Checks the SQL expressions of conf and options, without importing Spark.

Spark runs such an expression with the permissions of the job. So an expression may only compute
from the columns of a row. It must not read tables, files, secrets or services, or run code.
"""

import re

from matchlake.errors import ParameterError

_MATHS = """
    abs acos asin atan atan2 bround cbrt ceil ceiling cos cosh degrees exp expm1 floor greatest
    hypot isnan least ln log log10 log1p log2 mod nanvl negative pi pmod positive pow power radians
    rint round sign signum sin sinh sqrt tan tanh try_add try_divide try_multiply try_subtract
"""
_TEXTS = """
    ascii base64 btrim char char_length character_length chr concat concat_ws contains crc32 encode
    endswith format_number hash hex initcap instr lcase left length levenshtein locate lower lpad
    ltrim md5 octet_length overlay position regexp_count regexp_extract regexp_instr regexp_like
    regexp_replace regexp_substr replace reverse right rpad rtrim sha1 sha2 soundex split
    split_part startswith substr substring substring_index to_number translate trim try_to_number
    ucase unbase64 unhex upper xxhash64
"""
_TIMES = """
    add_months current_date current_timestamp date_add date_diff date_format date_sub date_trunc
    dateadd datediff day dayofmonth dayofweek dayofyear from_unixtime from_utc_timestamp hour
    last_day make_date make_timestamp minute month months_between next_day now quarter second
    timestamp_micros timestamp_millis timestamp_seconds to_date to_timestamp to_unix_timestamp
    to_utc_timestamp trunc try_to_timestamp unix_date unix_micros unix_millis unix_seconds
    unix_timestamp weekday weekofyear year
"""
_CHOICES = "coalesce decode equal_null if ifnull isnotnull isnull nullif nvl nvl2"
_CASTS = """
    bigint binary boolean cast date double float int smallint string timestamp tinyint try_cast
"""
_NESTED = """
    array array_contains array_distinct array_join array_max array_min array_position cardinality
    element_at filter from_json get get_json_object json_array_length json_object_keys map map_keys
    map_values named_struct size slice sort_array struct to_json transform try_element_at
"""
FUNCTIONS = frozenset(f"{_MATHS} {_TEXTS} {_TIMES} {_CHOICES} {_CASTS} {_NESTED}".split())
"""The functions that an expression may call."""

# Words, not functions, that may stand before a parenthesis.
_WORDS = """
    and between case dec decimal div else ilike in like not numeric or regexp rlike then varchar
    when
"""
# Spark calls these functions without parentheses, if no column has the name.
_IDENTITY = """
    current_catalog current_database current_schema current_user session_user user
"""
_LONGEST = 2000
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
# Excludes escapes, comments and placeholders, which Spark and the parser may read differently.
_PLAIN = re.compile(r"[A-Za-z0-9_ \n\t()\[\]+*/%<>=!|&^~.,:-]*")
_COMMENT = re.compile(r"--|/\*")
_CALL = re.compile(r"(\.\s*)?([A-Za-z0-9_]+|[`'\"])\s*\(")


_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def check_expression(sql: str) -> str:
    """Returns `sql`, if it only computes from columns; else raises ParameterError with the reason.

    `sql` must be one expression that calls only functions of `FUNCTIONS`. Subqueries, window
    functions, named arguments, comments and backslashes are refused.
    """
    if _NUMBER.fullmatch(sql):  # a plain number, such as a default weight, needs no parser
        return sql
    _check_characters(sql)
    _check_names(sql)
    _check_structure(sql)
    return sql


def _check_characters(sql: str) -> None:
    """Refuses characters that can hide a word from the parser, or from a reader."""
    plain = _QUOTED.sub("", sql)
    if len(sql) > _LONGEST:
        raise ParameterError(f"{_shown(sql)} is longer than {_LONGEST} characters.")
    if "\\" in sql or not _PLAIN.fullmatch(plain) or _COMMENT.search(plain):
        raise ParameterError(
            f"{_shown(sql)} has a backslash, a comment, or a character that no expression needs. "
            "Write a string in single quotes, [0-9] for a digit of a pattern, chr(10) for a new "
            "line."
        )


def _check_names(sql: str) -> None:
    """Refuses calls of functions that are not listed."""
    bare = _QUOTED.sub(lambda quoted: quoted[0][0] * 2, sql)
    called = [
        f"{qualifier.strip()}{name}"
        for qualifier, name in _CALL.findall(bare)
        if qualifier or name.lower() not in {*FUNCTIONS, *_WORDS.split()}
    ]
    names = _QUOTED.sub(lambda quoted: quoted[0] if quoted[0][0] == "`" else "", sql)
    called += [name for name in re.findall(r"\w+", names) if name.lower() in _IDENTITY.split()]
    if called:
        what = "a quoted name" if called[0] in "`'\"" else called[0]
        raise ParameterError(
            f"{_shown(sql)} calls {what}, which is not an allowed function. Allowed functions: "
            f"{', '.join(sorted(FUNCTIONS))}."
        )


def _check_structure(sql: str) -> None:
    """Refuses everything but one expression over columns."""
    from sqlglot import exp, parse  # noqa: PLC0415 - half a second, and most processes need none

    allowed = (
        *(exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Binary, exp.Unary),
        *(exp.Between, exp.In, exp.Case, exp.Func, exp.DataType, exp.DataTypeParam, exp.Interval),
        *(exp.Var, exp.Lambda, exp.Bracket, exp.JSONPath, exp.JSONPathPart),
    )
    try:
        trees = parse(sql, dialect="databricks")
    except Exception as error:  # noqa: BLE001 - it also fails with IndexError, RecursionError ...
        reason = str(error).partition("\n")[0]
        raise ParameterError(f"{_shown(sql)} is not a SQL expression: {reason}") from None
    if len(trees) != 1 or trees[0] is None:
        raise ParameterError(f"{_shown(sql)} is not one SQL expression.")
    for node in trees[0].walk():
        if not isinstance(node, allowed) or isinstance(node, exp.Kwarg | exp.SubqueryPredicate):
            raise ParameterError(
                f"{_shown(sql)} has a part that is not allowed ({type(node).__name__}). Use "
                "columns, values, operators, CASE, CAST and functions; no subquery, window or "
                "named argument."
            )


def _shown(sql: str) -> str:
    return repr(sql if len(sql) <= 200 else f"{sql[:200]}...")  # noqa: PLR2004
