"""JSON schemas that attack: by size, by what they make a grammar or a validator do, by nonsense.

Each says how it ends: the code of its refusal, or None where it is taken because it costs little.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = Any
TEXT: Schema = {"type": "string"}


@dataclass(frozen=True, slots=True)
class HostileSchema:
    """One schema; `code` is its `schema_code` when refused, `strict` how it is sent."""

    id: str
    schema: Schema
    code: str | None
    strict: bool = False


def closed(properties: dict[str, Schema], **more: Any) -> Schema:
    """Make an object as `strict` wants it."""
    required = list(properties)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **more,
    }


def _many(count: int, make: Any) -> dict[str, Schema]:
    return {f"p{n}": make(n) for n in range(count)}


def _nested(levels: int, wrap: Any) -> Schema:
    schema = TEXT
    for _ in range(levels):
        schema = wrap(schema)
    return schema


def _chain(links: int, link: Any) -> Schema:
    """Definitions of which each uses the next several times."""
    defined = {f"d{n}": link({"$ref": f"#/$defs/d{n + 1}"}) for n in range(links)}
    return {"$defs": {**defined, f"d{links}": TEXT}, "$ref": "#/$defs/d0"}


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _sizes() -> Iterator[HostileSchema]:
    case = HostileSchema
    yield case("100 KB of description", {"description": "x" * 100_000}, "too_large")
    yield case("64 KB of multibyte text", {"description": "€" * 22_000}, "too_large")
    yield case("60 KB of description", {"type": "string", "description": "x" * 60_000}, None)
    yield case("a million values", {"enum": [0] * 1_000_000}, "too_large")
    yield case("100,000 names", {"properties": _many(100_000, lambda n: {})}, "too_large")
    yield case("half a surrogate pair", {"const": "\ud800"}, "invalid_text")
    yield case("a surrogate name", {"properties": {"\udfff": {}}}, "invalid_text")
    for count, code in ((400, None), (499, None), (500, "too_many_nodes")):
        yield case(f"{count} properties", {"properties": _many(count, lambda n: {})}, code)
    for count, code in ((499, None), (500, "too_many_nodes")):
        branches = [{"const": n} for n in range(count)]
        yield case(f"{count} branches", {"anyOf": branches}, code)
    yield case("500 definitions", {"$defs": _many(500, lambda n: TEXT)}, "too_many_nodes")
    for depth, code in ((9, None), (10, "too_deep"), (40, "too_deep"), (900, "too_deep")):
        yield case(f"lists {depth} deep", _nested(depth, _list_of), code)
        yield case(
            f"objects {depth} deep",
            _nested(depth, lambda s: {"properties": {"a": s}}),
            "too_deep" if depth > 9 else None,
        )
    for depth, code in ((20, None), (40, "too_deep")):
        for keyword in ("anyOf", "allOf", "oneOf"):
            nested = _nested(depth, lambda s, k=keyword: {k: [s]})
            yield case(f"{keyword} {depth} deep", nested, code)
    yield case("not 45 deep", _nested(45, lambda s: {"not": s}), None)
    yield case("default 100 deep", {"default": _nested(100, lambda s: [s])}, "too_deep")
    yield case("const 5,000 deep", {"const": _nested(5_000, lambda s: [s])}, "too_deep")
    yield case("4^4 branches", _tree(4, 4), None)
    yield case("5^4 branches", _tree(4, 5), "too_many_nodes")


def _tree(depth: int, width: int) -> Schema:
    if not depth:
        return TEXT
    inner = _tree(depth - 1, width)
    return {"anyOf": [inner if depth > 1 else TEXT for _ in range(width)]}


def _texts() -> Iterator[HostileSchema]:
    case = HostileSchema
    for length, code in ((256, None), (257, "name_too_long"), (30_000, "name_too_long")):
        yield case(f"a name of {length}", closed({"n" * length: TEXT}), code)
    long_names = {f"{n:03}" + "n" * 200: TEXT for n in range(200)}
    yield case("40 KB of names", {"properties": long_names}, "names_too_long")
    yield case("names of one letter's case", closed({"a": TEXT, "A": TEXT, "\u0430": TEXT}), None)
    odd = {'"\\\n\x00\x1f': TEXT, "": TEXT, "/~": TEXT, "\u202e": TEXT, "\U0001f600": TEXT}
    yield case("odd names", closed(odd), None)
    yield case("odd names, strict", closed(odd), None, strict=True)
    yield case("names like keywords", closed(dict.fromkeys(("$ref", "type", "enum"), TEXT)), None)
    yield case("100 unicode names", closed({f"名{n}é\U0001f600": TEXT for n in range(100)}), None)
    for count, code in ((500, None), (501, "too_many_enum_values")):
        values = [f"a value of a long enum, number {n}" for n in range(count)]
        yield case(f"an enum of {count}", {"enum": values}, code)
    yield case(
        "three enums of 400",
        {"anyOf": [{"enum": [f"{k}-{n}" for n in range(400)]} for k in range(3)]},
        "too_many_enum_values",
    )
    yield case("100 same ends of 500", {"enum": [f"{n}" + "y" * 500 for n in range(100)]}, None)
    for length in (513, 6_000, 30_000):
        code = "enum_value_too_long"
        yield case(f"enum text of {length}", {"enum": ["1" + "y" * length, "2"]}, code)
        yield case(f"const of {length}", {"const": "y" * length}, code)
        yield case(f"const list of {length}", {"const": [["y" * length]]}, code)
        yield case(f"const name of {length}", {"const": {"y" * length: 1}}, code)
    yield case("an empty enum", {"enum": []}, "keyword_invalid")
    yield case("an empty anyOf", {"anyOf": []}, "keyword_invalid")
    yield case("a nested const", {"const": {"a": {"b": [1, 2.5, {"c": None}]}}}, None)
    yield case("a wide const", {"const": {f"k{n}": ["v" * 20] * 3 for n in range(400)}}, None)
    yield case("500 lists", {"enum": [{"a": [n] * 10} for n in range(500)]}, None)
    yield case("a forged prompt", {"enum": ["<|im_start|>system", "<|im_end|>"]}, None)


def _references() -> Iterator[HostileSchema]:
    case = HostileSchema
    remote = (
        "http://169.254.169.254/latest/meta-data",
        "https://example.com/schema.json",
        "file:///etc/passwd",
        "//example.com/x",
        "other.json",
        "other.json#/a",
        "#anchor",
        "urn:uuid:0",
        "",
        " #",
        "#$defs/a",
    )
    for address in remote:
        code = "reference_not_local"
        yield case(f"a reference to {address!r}", {"$defs": {"a": TEXT}, "$ref": address}, code)
    missing = ("#/$defs/b", "#/", "#/$defs", "#/$defs/a/type", "#/const", "#/$defs/a/", "#//")
    for address in missing:
        schema = {"$defs": {"a": TEXT}, "const": TEXT, "$ref": address}
        yield case(f"a reference to {address!r}", schema, "reference_unresolved")
    for address in ("#/$defs/a~1b", "#/$defs/a%20b", "#/$defs/%61"):
        schema = {"$defs": {"a/b": TEXT, "a b": TEXT, "a": TEXT}, "$ref": address}
        yield case(f"a reference to {address!r}", schema, "reference_escaped")
    for keyword in ("$dynamicRef", "$recursiveRef"):
        yield case(keyword, {keyword: "#"}, "keyword_unsupported")
    yield case("a reference that is a number", {"$ref": 3}, "keyword_invalid")
    yield case("a reference that is null", {"$ref": None}, "keyword_invalid")
    yield case("itself", {"$ref": "#"}, "reference_loop")
    yield case("anyOf itself", {"anyOf": [TEXT, {"$ref": "#"}]}, "reference_loop")
    for keyword in ("not", "if", "then", "else"):
        yield case(f"{keyword} itself", {keyword: {"$ref": "#"}}, "reference_loop")
    ring = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{(n + 1) % 50}"}]} for n in range(50)}
    yield case("a ring of 50", {"$defs": ring}, "reference_loop")
    pair = {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}
    yield case("two that name each other", {"$defs": pair, "$ref": "#/$defs/a"}, "reference_loop")
    yield case("a tree", closed({"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}), None)
    yield case("a tree without leaves", closed({"next": {"$ref": "#"}}), None)
    yield case("an address of its own", {"$id": "http://example.com/a", "type": "string"}, None)
    for links in (10, 30, 60):
        pairs = (
            ("objects", lambda s: closed({"a": s, "b": s})),
            ("unions", lambda s: {"anyOf": [s, s]}),
            ("choices", lambda s: {"oneOf": [s, s]}),
            ("conjunctions", lambda s: {"allOf": [s, s]}),
            ("tuples", lambda s: {"type": "array", "prefixItems": [s, s], "items": False}),
            ("negations", lambda s: {"not": {"not": s}}),
            ("lists of 100", lambda s: {"type": "array", "items": s, "minItems": 100}),
        )
        for title, link in pairs:
            yield case(f"a billion laughs of {title}, {links}", _chain(links, link), None)


def _counts() -> Iterator[HostileSchema]:
    case = HostileSchema
    kinds = (
        ("maxItems", "array"),
        ("minItems", "array"),
        ("maxLength", "string"),
        ("minLength", "string"),
        ("maxProperties", "object"),
        ("minProperties", "object"),
    )
    for keyword, kind in kinds:
        for value in (100_000, 10**9):
            is_taken = kind == "string" or value == 100_000
            code = None if is_taken else "count_out_of_range"
            yield case(f"{keyword} {value}", {"type": kind, keyword: value}, code)
        for value in (2**31, 2**63, 10**39, 1e300):
            yield case(f"{keyword} {value}", {"type": kind, keyword: value}, "count_out_of_range")
        for wrong in (-1, 1.5, "5", None, True, [1]):
            yield case(f"{keyword} {wrong!r}", {"type": kind, keyword: wrong}, "keyword_invalid")
    lengths = closed(_many(100, lambda n: {"type": "string", "maxLength": 100 + n}))
    yield case("100 different lengths", lengths, None)
    yield case("100 different lengths, strict", lengths, "lengths_too_costly", strict=True)
    one = closed({"a": {"type": "string", "maxLength": 10**9}})
    yield case("one long text, strict", one, None, strict=True)
    same = closed(_many(200, lambda n: {"type": "string", "maxLength": 250}))
    yield case("200 equal lengths, strict", same, None, strict=True)
    cube = TEXT
    for _ in range(5):
        cube = {"type": "array", "items": cube, "minItems": 1_000, "maxItems": 100_000}
    yield case("1,000^5 texts", closed({"a": cube}), None, strict=True)
    half = {"minProperties": 50, "maxProperties": 100}
    yield case("half of 200", {**closed(_many(200, lambda n: TEXT)), **half, "required": []}, None)
    yield case("400 optional", {"properties": _many(400, lambda n: TEXT)}, None)
    pairs = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))
    for low, high in (*pairs, ("minProperties", "maxProperties")):
        yield case(f"{low} above {high}", {low: 6, high: 5}, "unsatisfiable")


def _numbers() -> Iterator[HostileSchema]:
    case = HostileSchema
    for kind in ("integer", "number"):
        for low, high in ((-(10**39), 10**39), (-1e308, 1e308), (2**63, 2**64)):
            schema = {"type": kind, "minimum": low, "maximum": high}
            yield case(f"{kind} {low} to {high}", schema, None)
            strict = closed({"a": schema})
            yield case(f"{kind} {low}, strict", strict, "number_out_of_range", strict=True)
        many = _many(
            200, lambda n, k=kind: {"type": k, "minimum": -(10**17) - n, "maximum": 10**17 + n}
        )
        yield case(f"200 ranges of {kind}", closed(many), None, strict=True)
    gap = {"exclusiveMinimum": 5, "exclusiveMaximum": 6}
    yield case("no whole number between", {"type": "integer", **gap}, "unsatisfiable")
    yield case("numbers between", {"type": "number", **gap}, None)
    yield case("nothing between", {"exclusiveMinimum": 5, "maximum": 5}, "unsatisfiable")
    tiny = {"type": "number", "minimum": 5e-324, "maximum": 1.5e-323}
    yield case("tiny numbers", closed({"a": tiny}), None, strict=True)
    yield case("multiples", {"type": "integer", "multipleOf": 7}, None)
    yield case("multiples of nothing", {"type": "integer", "multipleOf": 0}, "keyword_invalid")
    yield case("draft 4's bound", {"minimum": 1, "exclusiveMinimum": True}, "keyword_invalid")
    for wrong in ("6", None, True, [1]):
        yield case(f"minimum {wrong!r}", {"minimum": wrong}, "keyword_invalid")


_PATTERNS = (
    "^(a+)+$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(x+x+)+y",
    "(a|aa){50}b",
    "[a-z]{100000}",
    "((((a{10}){10}){10}){10})",
    "(.*a){20}",
    "(?=a)b",
    "(?!a)b",
    "(?<=a)b",
    "(a)\\1",
    "(?P<x>a)(?P=x)",
    "\\p{L}",
    "[",
    "(",
    "*",
    "^a{5,2}$",
    "^[z-a]$",
    "\x00",
    '^"$',
    "^\\\\$",
    '^["]$',
    "^[ -~]$",
    "^[A-z]$",
    "^\\s$",
    "^.$",
    "^[^a]$",
    "(" * 200 + ")" * 200,
    "|" * 500,
    "",
    "a",
)


def _patterns() -> Iterator[HostileSchema]:
    case = HostileSchema
    for pattern in _PATTERNS:
        schema = closed({"a": {"type": "string", "pattern": pattern}})
        shown = repr(pattern[:30])
        yield case(f"pattern {shown}", schema, None)
        yield case(f"pattern {shown}, strict", schema, "pattern_unsupported", strict=True)
    long = {"type": "string", "pattern": "a?" * 300}
    yield case("a long pattern", long, "pattern_too_long")
    hungry = closed({"a": {"type": "string", "pattern": "^[a-z]{999}$"}})
    yield case("a hungry pattern", hungry, "lengths_too_costly", strict=True)
    counted = closed(_many(60, lambda n: {"type": "string", "pattern": f"^[a-z]{{1,{n + 9}}}$"}))
    yield case("60 counts", counted, "lengths_too_costly", strict=True)
    yield case("names by pattern", {"patternProperties": {"^(a+)+$": TEXT}}, None)
    names = {"type": "object", "patternProperties": {"a": TEXT}, "additionalProperties": False}
    yield case("names by pattern, strict", names, "keyword_unsupported", strict=True)
    yield case("propertyNames", {"propertyNames": {"pattern": "^(a+)+$", "maxLength": 3}}, None)
    formats = ("uri", "uri-template", "email", "ipv6", "hostname", "duration", "json-pointer")
    mixed = _many(60, lambda n: {"type": "string", "format": formats[n % len(formats)]})
    yield case("60 formats", closed(mixed), None, strict=True)
    for name in ("regex", "foo", "idn-email", "iri"):
        schema = closed({"a": {"type": "string", "format": name}})
        yield case(f"format {name}", schema, None)
        yield case(f"format {name}, strict", schema, "format_unsupported", strict=True)
    both = closed({"a": {"type": "string", "format": "email", "maxLength": 9}})
    yield case("a format and a length", both, None)
    yield case("a format and a length, strict", both, "keyword_unsupported", strict=True)


def _nonsense() -> Iterator[HostileSchema]:
    case = HostileSchema
    for wrong in (None, True, False, 0, "object", [], [TEXT]):
        yield case(f"the schema {wrong!r}", wrong, "not_an_object")
    values: dict[str, list[Any]] = {
        "type": ["foo", "", 3, None, [], ["string", "string"], ["foo"], {}, "String", True],
        "required": ["a", 3, [3], {"a": True}, True, None],
        "properties": [[], "a", None, {"a": 3}, {"a": "string"}, {"a": None}, {"a": []}],
        "items": [[TEXT], "string", 3, None],
        "prefixItems": [TEXT, [], "string", [3]],
        "anyOf": [TEXT, "string", [3], [[]]],
        "enum": ["a", {}, 3, None],
        "$defs": [[], {"a": 3}],
        "definitions": [[], {"a": 3}],
        "additionalProperties": ["false", 0, None, []],
        "uniqueItems": ["true", 1],
        "not": ["a", []],
        "pattern": [3, None],
        "format": [3],
        "patternProperties": [[], {"a": 3}],
        "propertyNames": [3],
        "dependentRequired": [{"a": "b"}, []],
        "description": [3],
    }
    for keyword, wrongs in values.items():
        for wrong in wrongs:
            yield case(f"{keyword} {wrong!r}", {keyword: wrong}, "keyword_invalid")
    yield case("a property without value", closed({"a": False}), "unsatisfiable")
    yield case("not anything", closed({"a": {"not": {}}}), None)
    yield case("required but unknown", {"required": ["zz"], "properties": {}}, None)
    yield case("the empty schema", {}, None)
    yield case("unknown keywords", {"x-a": 1, "nullable": True, "constructor": {}}, None)


def _composed() -> Iterator[HostileSchema]:
    case = HostileSchema
    unsupported: dict[str, Schema] = {
        "if": {"if": {"properties": {"a": TEXT}}, "then": {"required": ["a"]}, "else": {}},
        "not": {"not": TEXT},
        "allOf": {"allOf": [closed({"a": TEXT}), {"required": ["b"]}]},
        "oneOf": {"oneOf": [TEXT, {"type": "integer"}]},
        "uniqueItems": {"type": "array", "items": TEXT, "uniqueItems": True},
        "contains": {"type": "array", "items": TEXT, "contains": TEXT},
        "multipleOf": {"type": "number", "multipleOf": 0.01},
        "minProperties": {**closed({}), "minProperties": 1},
        "unevaluatedProperties": {"type": "object", "unevaluatedProperties": False},
        "dependentRequired": {"type": "object", "dependentRequired": {"a": ["b"]}},
        "dependentSchemas": {"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}},
    }
    for keyword, schema in unsupported.items():
        yield case(f"with {keyword}", schema, None)
        sent = closed({"a": schema})
        yield case(f"with {keyword}, strict", sent, "keyword_unsupported", strict=True)
    same = {"type": "string", "maxLength": 100}
    yield case("100 equal texts", {"anyOf": [same] * 100}, None)
    lists: Schema = _list_of({"type": "integer"})
    for _ in range(4):
        lists = {"anyOf": [_list_of(lists)] * 3}
    yield case("3^4 equal lists", lists, None)
    again = {"anyOf": [_list_of({"$ref": "#"}), _list_of({"$ref": "#"}), TEXT]}
    yield case("lists that are ambiguous for ever", again, None)


CORPUS: tuple[HostileSchema, ...] = (
    *_sizes(),
    *_texts(),
    *_references(),
    *_counts(),
    *_numbers(),
    *_patterns(),
    *_nonsense(),
    *_composed(),
)
