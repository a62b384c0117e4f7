"""The JSON schemas that callers send: which are taken, what a grammar can enforce, what fits.

Pure functions that block for milliseconds; no schema is fetched, no pattern of a caller is run.
"""

from app.inference.json_schema.check import check_schema
from app.inference.json_schema.decodable import decodable
from app.inference.json_schema.document import InvalidDocument, check_document, is_valid
from app.inference.json_schema.together import check_grammar, check_number

__all__ = [
    "InvalidDocument",
    "check_document",
    "check_grammar",
    "check_number",
    "check_schema",
    "decodable",
    "is_valid",
]
