"""What goes into a model and what comes out of it: checking, JSON, and JSON Schema (2020-12)."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, get_origin

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticSerializationError, SchemaValidator

from longrun.errors import Canceled, InvalidOutput
from longrun.errors.catching import is_caught_by
from longrun.jobs.file_refs import FileRef
from longrun.media.rules import FileRule
from longrun.models import arrays, jsonable
from longrun.models.aliases import unaliased
from longrun.models.ambiguous import FEW_TRIES, TooManyWays, Ways, ambiguous, counting, most_tries
from longrun.models.closed import closed, inlined, json_schema, kinds
from longrun.models.file_annotations import with_files
from longrun.models.file_schema import MARK, PLACE, Anything, Attached, FilePlace, Known, Looking, TooManyFiles, file_rules, files_first
from longrun.models.large import LARGE, checker, reads_decoded
from longrun.models.pointers import findings, places
from longrun.models.readback import Reader
from longrun.models.refusals import AMBIGUOUS, BROKEN, ROOT, found_in, json_type, refused
from longrun.models.signature import NO_DEFAULT, Parameter

# Kinds of core schema whose checked values orjson writes the way pydantic would; all others go through pydantic's serializer.
_LEAVES = {"none", "bool", "int", "float", "decimal", "str", "bytes", "date", "time", "datetime", "timedelta", "literal", "enum", "uuid"}
_CONTAINERS = {"list", "tuple", "set", "frozenset", "dict", "typed-dict", "typed-dict-field", "nullable", "union", "tagged-union"}
_PLAIN = {*_LEAVES, *_CONTAINERS, "any", "definitions", "definition-ref"}
_CLASSES = {"model", "model-fields", "model-field", "dataclass", "dataclass-args", "dataclass-field", "computed-field", "default"}
#: Kinds whose values are nested only as deep as their type; an `any`, a type that contains itself or a serializer may go on.
_FLAT = {*_LEAVES, *_CONTAINERS, *_CLASSES}


class InputSchema:
    """The input of a model: a JSON object.

    Args:
        title: a name for the schema.
        model: the BaseModel whose fields are the input; `parse` then returns an instance of it.
        parameters: without `model`, the parameters that are the fields; `parse` then returns a dict of keyword arguments.

    Raises:
        pydantic.errors.PydanticUserError: a type is none that pydantic can check, or none that JSON Schema can describe.
    """

    def __init__(self, title: str, *, model: type[BaseModel] | None = None, parameters: Sequence[Parameter] = ()) -> None:
        self._arguments = None if model else {f"p{index}": each.name for index, each in enumerate(parameters)}
        core = closed(_adapter(model or _model_of(title, parameters)).core_schema)
        self._json_schema = json_schema(core)
        self.has_files = MARK in json.dumps(self._json_schema)  #: whether a file may stand in it, anywhere
        if self.has_files:  # what is said of a file is looked for where the file stands
            core = inlined(core)
            self._json_schema = json_schema(core)
        self._core = files_first(core) if self.has_files else core
        # Built anew: pydantic would otherwise put in the class's own validator, which ignores unknown fields.
        self._validator = SchemaValidator(self._core, None, False)
        self._ways = Ways(self._core, Anything() if self.has_files else None) if ambiguous(self._core) else None

    @property
    def fields(self) -> list[str]:
        """Names of the input fields, in the author's order."""
        return list(self._described().get("properties", ()))

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of the input; yours to change."""
        return copy.deepcopy(self._json_schema)

    @cached_property
    def json_schema_text(self) -> bytes:
        """The same as JSON."""
        return orjson.dumps(self._json_schema)

    @property
    def fields_schemas(self) -> Mapping[str, Any]:
        """The JSON Schema of each input field; not yours to change."""
        return self._described().get("properties", {})  # type: ignore[no-any-return]

    @property
    def definitions(self) -> Mapping[str, Any]:
        """The schemas that `fields_schemas` refer to as `#/$defs/<name>`; not yours to change."""
        return self._json_schema.get("$defs", {})  # type: ignore[no-any-return]

    @cached_property
    def file_rules(self) -> Mapping[str, tuple[FileRule, bool]]:
        """The fields that are files: what is allowed of them, and whether the field is a list of files."""
        return file_rules(self.fields_schemas) if self.has_files else {}

    def parse(
        self, data: Any, *, text: bytes | None = None, files: Mapping[str, FileRef] | None = None, attached: Attached | None = None
    ) -> Any:
        """The value that `Instance.call` takes, from an input as JSON decoding gives it.

        Checked by JSON's rules: a text may be a time, a UUID or a member of an enum. Unknown fields are refused.

        Args:
            text: `data` as JSON, where that is there already.
            files: those that the input names by id.
            attached: how their bytes are reached; None: they are not.

        Raises:
            ValidationFailed: with one finding for each thing that is wrong, at most 50.
        """
        found = self._checked(data, None if files is None else Known(files, attached), text)
        if isinstance(found, ValidationError):
            raise refused(found_in(found, data)) from found
        if self._arguments is None:
            return found
        return {name: getattr(found, attribute) for attribute, name in self._arguments.items()}

    def check(self, data: Any, text: bytes, *, files: Mapping[str, FileRef] | None = None) -> None:
        """Raise what `parse` raises. Of what is wrong with an input over `LARGE`, the first finding of each list or object is enough.

        Args:
            data: the input as JSON decoding gives it.
            text: `data` as JSON.
            files: those that the input names by id.
        """
        context = None if files is None else Known(files)
        found = self._checked(data, context, text, self._large if len(text) > LARGE else self._in_turns(len(text)))
        if isinstance(found, ValidationError):
            raise refused(found_in(found, data)) from None

    def weight(self, size: int) -> int:
        """Bytes of a plain input that takes as long to check as one of `size` bytes: a union tries its values as several classes."""
        return max(size, size * self._tries // FEW_TRIES)

    def file_places(self, data: Any, text: bytes | None = None) -> list[FilePlace]:
        """Where files stand in an input, before they are there.

        Args:
            data: the input as JSON decoding gives it.
            text: `data` as JSON, where that is there already.

        Raises:
            ValidationFailed: something else is wrong with it.
        """
        looking = Looking()
        if text is None or len(text) <= LARGE:
            found = self._checked(data, looking, text, None if text is None else self._in_turns(len(text)))
        else:
            anything = self._checked(data, Anything(), text, self._large)
            found = anything if isinstance(anything, ValidationError) else self._checked(data, looking, text, self._large_places)
        if not isinstance(found, ValidationError):
            return []
        numbers, others = places(found, data, PLACE)
        if others:
            raise refused(found_in(found, data, but=PLACE)) from found
        gathered: dict[tuple[str | int, ...], list[int]] = {}
        for path, number in numbers:
            gathered.setdefault(path, []).append(number)
        return [
            FilePlace(path, looking.found[several[0]][0], tuple(looking.found[each][1] for each in several))
            for path, several in gathered.items()
        ]

    @cached_property
    def _decoded(self) -> bool:
        return reads_decoded(self._core)

    @cached_property
    def _large(self) -> SchemaValidator:
        return checker(self._for_large, decoded=self._decoded)

    @cached_property
    def _large_places(self) -> SchemaValidator:
        return checker(self._for_large, decoded=self._decoded, all_places=True)

    def _in_turns(self, size: int) -> SchemaValidator | None:
        """For an input that is not large, but takes long: all that is wrong is found, and other threads run meanwhile."""
        return self._large_places if self.weight(size) > LARGE else None

    @cached_property
    def _tries(self) -> int:
        return most_tries(self._core)

    @property
    def _for_large(self) -> CoreSchema:
        return counting(self._core) if self._ways and self._decoded else self._core

    def _checked(self, data: Any, context: Any, text: bytes | None = None, large: SchemaValidator | None = None) -> Any:
        """The value, or what is wrong with it; no value with a validator for large inputs.

        Raises:
            ValidationFailed: it is no object, it names too many files, or the author's own checks broke.
        """
        if not isinstance(data, dict):
            raise refused([{"pointer": ROOT, "detail": f"The input is a JSON object; got {json_type(data)}"}])
        try:
            text = _as_json(data) if text is None else text
            if large is not None and self._decoded:
                if self._ways and (wrong := self._ways.check(large, data, len(text), context)):
                    raise wrong
                return None if self._ways else large.validate_python(data, context=context)
            if self._ways:
                self._ways.limit(data, len(text))
            return (large or self._validator).validate_json(text, context=context)
        except ValidationError as error:
            return error
        except TooManyWays:
            raise refused(AMBIGUOUS) from None
        except TooManyFiles as error:
            raise refused([{"pointer": ROOT, "detail": str(error)}]) from None
        except BaseException as error:
            # A validator of the author's that breaks on a value must not make a 500 of it, nor end the API by `sys.exit`; the operator
            # reads the cause. What stops a job passes.
            if is_caught_by(error, Canceled):
                raise
            raise refused(BROKEN) from error

    def _described(self) -> dict[str, Any]:
        schema = self._json_schema
        if "$ref" in schema:  # a model that contains itself is described in $defs
            return schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]]  # type: ignore[no-any-return]
        return schema


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value as JSON (UTF-8), or an array in .npy format, and what had to be replaced in its JSON, one sentence each."""

    data: bytes
    warnings: list[str]


class OutputSchema:
    """The output of a model: one value, or a stream of values.

    Args:
        annotation: the type of the value, of one item of a batch, or of one yielded value.
        stream: whether values are yielded.

    Raises:
        pydantic.errors.PydanticUserError: the type is none that pydantic can check, or none that JSON Schema can describe.
    """

    def __init__(self, annotation: Any, *, stream: bool = False) -> None:
        annotation = with_files(unaliased(annotation))
        self._item = _Encoder(annotation)
        self.may_hold_files = self._item.may_hold_files  #: whether its values may hold files, or bytes that become files
        self.is_text_stream = stream and self._item.is_text  #: whether the yielded texts are joined to one
        listed = stream and not self.is_text_stream
        self._whole = _Encoder(list[annotation]) if listed else self._item
        self._reader = Reader(list[annotation] if listed else annotation)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of the whole output (for a stream, of what it adds up to); yours to change."""
        return copy.deepcopy(self._whole.json_schema)

    @cached_property
    def json_schema_text(self) -> bytes:
        """The same as JSON."""
        return orjson.dumps(self._whole.json_schema)

    def encode(self, value: Any, *, npy_over: int | None = None) -> Encoded:
        """The whole output as JSON.

        Args:
            value: what the model returned.
            npy_over: an array with more bytes than this is given in .npy format instead; None = none is.

        Raises:
            InvalidOutput: the value does not fit the return annotation, or JSON cannot hold it.
        """
        return self._whole.encode(value, npy_over)

    def encode_item(self, value: Any) -> Encoded:
        """One yielded value as JSON.

        Raises:
            InvalidOutput: the value does not fit the return annotation, or JSON cannot hold it.
        """
        return self._item.encode(value)

    def decode(self, data: bytes, attached: Attached | None) -> Any:
        """The whole output as a value again, its files not opened; `attached`: how they are. Raises InvalidOutput."""
        return self._reader.read(data, attached)

    def join(self, items: Sequence[bytes]) -> bytes:
        """The whole output of a stream from its encoded items: one text, or a list."""
        if self.is_text_stream:
            return b'"%s"' % b"".join(item[1:-1] for item in items)
        return b"[%s]" % b",".join(items)


class _Encoder:
    """Checks values of one type and writes them as JSON."""

    def __init__(self, annotation: Any) -> None:
        adapter = _adapter(annotation)
        found = kinds(adapter.core_schema)
        self.json_schema = json_schema(adapter.core_schema, output=True)
        self.is_text = found == {"str"} and (annotation is str or get_origin(annotation) is Annotated)
        self._check = None if found == {"any"} and annotation is Any else adapter.validator.validate_python
        self._serializer = None if found <= _PLAIN else adapter.serializer
        self._takes = arrays.taker(annotation)
        self._may_be_deep = not found <= _FLAT
        self.may_hold_files = not found <= _PLAIN - {"any", "bytes"}

    def encode(self, value: Any, npy_over: int | None = None) -> Encoded:
        array = arrays.as_array(value)
        if array is not None and self._takes(array):
            repairs = jsonable.Repairs()
            arrays.note_not_finite(array, repairs)
            as_npy = npy_over is not None and array.nbytes > npy_over
            return Encoded(arrays.to_npy(array) if as_npy else arrays.to_json(array), repairs.warnings())
        value = jsonable.as_list(value)
        try:
            data = self._write(self._check(value) if self._check else value)
        except (ValidationError, TypeError, ValueError, PydanticSerializationError, RecursionError):
            return self._encode_with_care(value)
        # orjson turns NaN into null silently, and nests deeper than we allow: look closer when either is possible.
        if b"null" in data or (self._may_be_deep and _is_too_deep(data)):
            return self._encode_with_care(value)
        return Encoded(data, [])

    def _write(self, checked: Any) -> bytes:
        if self._serializer is not None:
            checked = self._serializer.to_python(checked, mode="json", by_alias=True, warnings="none")
        return orjson.dumps(checked, arrays.native, orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY)

    def _encode_with_care(self, value: Any) -> Encoded:
        repairs = jsonable.Repairs()
        value = self._checked(value, repairs)
        if self._serializer is not None:
            value = jsonable.dump_model(self._serializer, value, repairs)
        value = jsonable.to_json_value(value, repairs)
        return Encoded(_write_any_integer(value), repairs.warnings())

    def _checked(self, value: Any, repairs: jsonable.Repairs) -> Any:
        if self._check is None:
            return value
        plain = jsonable.without_arrays(value, repairs)
        try:
            return self._check(plain)
        except ValidationError as error:
            found = findings(error, plain, "/output")
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            text = f"{found[0]['pointer']}: {found[0]['detail']}{more}"
            raise InvalidOutput(f"the returned value does not fit the return annotation at {text}") from error
        except Exception as error:
            # The author's own validator broke: the value is not one that it allows.
            cause: str = type.__dict__["__name__"].__get__(type(error))  # not as its metaclass says it
            raise InvalidOutput("the returned value could not be checked against the return annotation", cause=cause) from error


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    adapter.rebuild(raise_errors=True)  # a class with `defer_build` has only a placeholder until then
    return adapter


def _model_of(title: str, parameters: Sequence[Parameter]) -> type[BaseModel]:
    """A BaseModel with one field for each parameter.

    Its own field names are made up and the parameters' names are aliases: `copy`, `json` or `_x` are fine as
    parameters but not as names of pydantic fields.
    """
    members: dict[str, Any] = {}
    for index, each in enumerate(parameters):
        annotation = each.annotation if _has_alias(each.annotation) else Annotated[each.annotation, Field(alias=each.name)]
        members[f"p{index}"] = annotation if each.default is NO_DEFAULT else (annotation, each.default)
    return create_model(title, __config__=ConfigDict(extra="forbid"), **members)


def _has_alias(annotation: Any) -> bool:
    metadata = getattr(annotation, "__metadata__", ())
    return any(isinstance(each, FieldInfo) and (each.alias or each.validation_alias) for each in metadata)


def _as_json(data: Any) -> bytes:
    try:
        return orjson.dumps(data)
    except TypeError:  # whole numbers over 64 bits, which orjson does not write
        return json.dumps(data).encode()


def _is_too_deep(data: bytes) -> bool:
    opened = data.count(b"[") + data.count(b"{")
    return opened > jsonable.MAX_DEPTH and jsonable.depth_over(orjson.loads(data), jsonable.MAX_DEPTH)


def _write_any_integer(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        try:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except ValueError as error:
            raise InvalidOutput("the returned value holds a whole number of more than 4,300 digits") from error
