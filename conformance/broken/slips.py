"""One slip for every check: what the check is there for, made wrong in the smallest way.

Laws of this file:
- `SLIPS` has one entry for every check of the suite, by its name; a check without one might be one that cannot fail.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from gateway_conformance.answers import RATE_LIMIT
from gateway_conformance.checks.bodies import JSON_TYPES
from gateway_conformance.exchange import Asgi, Message

from broken import limits, logs, streams
from broken.answers import foreign_allow, undocumented_status
from broken.contracts import keeping, showing
from broken.identities import (
    any_prefix,
    asked_once,
    every_scope,
    foreign_agent,
    stale_for_ever,
    unavailable_is_anybody,
    unavailable_is_wrong,
)
from broken.layers import Answered, Asked, answering, asking
from broken.orders import body_before_credential, content_before_credential, content_before_scope
from gateways import CALLERS, Parts, build
from treaty import Document

Slip = Callable[[Parts], Asgi]

MOUNT: Final = "/ibex"


def asks(change: Callable[[Asked], Asked], *, reading: bool = False) -> Slip:
    """Return a gateway that is asked something else."""
    return lambda parts: asking(build(parts), change, reading=reading)


def answers(change: Callable[[Answered], Answered]) -> Slip:
    """Return a gateway that answers something else."""
    return lambda parts: answering(build(parts), lambda _, answered: change(answered))


def keeps(change: Callable[[Document], None]) -> Slip:
    """Return a gateway that keeps another contract than it publishes."""
    return lambda parts: keeping(parts, change)


def shows(change: Callable[[Document], None]) -> Slip:
    """Return a gateway that publishes another contract than it keeps."""
    return lambda parts: showing(parts, change)


# --- What is published -----------------------------------------------------------------------------------------------


def _kind_twice(document: Document) -> None:
    examples = document["components"]["responses"]["Forbidden"]["content"]["application/json"]["examples"]
    examples["missing_credential"] = {"$ref": "#/components/examples/missing_credential"}


def _path_that_is_not_served(document: Document) -> None:
    served = document["paths"]["/v1/chat/completions"]["post"]
    document["paths"]["/v2/chat/completions"] = {"post": {**served, "operationId": "createLater"}}


def _success_in_phase_one(document: Document) -> None:
    responses = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    responses["200"] = {"description": "Not yet."}


def _one_example(document: Document) -> None:
    media = document["components"]["requestBodies"]["ChatCompletion"]["content"]["application/json"]
    name, example = next(iter(media["examples"].items()))
    media["examples"] = {name: example}


# --- What is kept ----------------------------------------------------------------------------------------------------


def _schema(document: Document) -> dict[str, Any]:
    schema: dict[str, Any] = document["components"]["schemas"]["ChatCompletionRequest"]
    return schema


def _no_unknown_keys(document: Document) -> None:
    _schema(document)["additionalProperties"] = False


def _no_stop(document: Document) -> None:
    _schema(document)["properties"]["stop"] = {"type": "string"}


def _no_schema(document: Document) -> None:
    _schema(document).pop("required")


def _name_too_long(document: Document) -> None:
    document["components"]["schemas"]["ModelName"]["maxLength"] += 1


def _limit_too_low(document: Document) -> None:
    document["x-dragoman"]["body-limit"] -= 1


# --- What is asked ---------------------------------------------------------------------------------------------------


def _stranger_is_asked_first(asked: Asked) -> Asked:
    """A credential is asked for before the route is known."""
    known = re.match(
        rf"({MOUNT})?/(v1/(chat|models|responses|orgs)|proxy|api|healthz|livez|readyz|openapi)", asked.path
    )
    return asked if known or asked.header("authorization") else attrs.evolve(asked, method="GET", path="/v1/models")


def _scope_before_parameters(asked: Asked) -> Asked:
    unscoped = asked.header("authorization") == f"Bearer {CALLERS.unscoped_token}"
    return asked.having("x-agent-id", CALLERS.agent) if unscoped else asked


def _length_before_type(asked: Asked) -> Asked:
    long = int(asked.header("content-length") or 0) > 1 << 23
    return asked.having("content-type", "application/json").having("content-encoding", None) if long else asked


def _json_before_cap(asked: Asked) -> Asked:
    body = asked.body or b""
    return attrs.evolve(asked, body=b"{") if body.startswith(b"{{") else asked


def _any_scheme(asked: Asked) -> Asked:
    return asked.having("authorization", asked.header("authorization").replace("Basic ", "Bearer "))


def _last_credential(asked: Asked) -> Asked:
    sent = [value for name, value in asked.headers if name == b"authorization"]
    return asked.having("authorization", sent[-1].decode("latin-1")) if sent else asked


def _any_organization(asked: Asked) -> Asked:
    return attrs.evolve(asked, path=asked.path.replace(CALLERS.foreign_organization, CALLERS.organization))


def _agent_on_post_only(asked: Asked) -> Asked:
    return asked.having("x-agent-id", None) if asked.method == "GET" else asked


def _broken_agent_is_none(asked: Asked) -> Asked:
    agent = asked.header("x-agent-id")
    return asked if len(agent) == len(CALLERS.agent) else asked.having("x-agent-id", None)


def _coerced(asked: Asked) -> Asked:
    body = re.sub(rb'"(true|false)"', rb"\1", asked.body or b"")
    return attrs.evolve(asked, body=body)


def _any_type(asked: Asked) -> Asked:
    stated = asked.header("content-type")
    return asked.having("content-type", "application/json") if "json" in stated and stated not in JSON_TYPES else asked


def _any_encoding(asked: Asked) -> Asked:
    return asked.having("content-encoding", None)


def _lenient_json(asked: Asked) -> Asked:
    """Python's own decoder takes NaN and lone surrogates."""
    try:
        body = re.sub(r"\b(NaN|-?Infinity)\b", '"x"', (asked.body or b"").decode("utf-8"))
    except UnicodeDecodeError:
        return asked
    return attrs.evolve(asked, body=body.encode())


def _empty_is_an_object(asked: Asked) -> Asked:
    return attrs.evolve(asked, body=b"{") if asked.body == b"null" else asked


def _first_key_counts(asked: Asked) -> Asked:
    try:
        document = json.loads(asked.body or b"", object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    except ValueError:
        return asked
    return attrs.evolve(asked, body=json.dumps(document).encode())


def _no_space_around(asked: Asked) -> Asked:
    body = asked.body or b""
    return attrs.evolve(asked, body=b"{") if body[:1].isspace() else asked


def _no_options(asked: Asked) -> Asked:
    return attrs.evolve(asked, method="PUT") if asked.method == "OPTIONS" else asked


def _head_is_options(asked: Asked) -> Asked:
    return attrs.evolve(asked, method="OPTIONS") if asked.method == "HEAD" else asked


def _patch_is_post(asked: Asked) -> Asked:
    return attrs.evolve(asked, method="POST") if asked.method == "PATCH" else asked


def _one_path_is_lenient(asked: Asked) -> Asked:
    lenient = asked.path.startswith("/proxy/") and asked.body == b"{}"
    return (
        attrs.evolve(asked, body=b'{"model": "x", "messages": [{"role": "user", "content": ""}]}') if lenient else asked
    )


def _no_slashes(asked: Asked) -> Asked:
    head, found, model = asked.path.partition("/v1/models/")
    return attrs.evolve(asked, path=f"{head}/nowhere") if found and "/" in model else asked


def _own_ids_only(asked: Asked) -> Asked:
    return asked.having("x-request-id", None)


def _own_traces_only(asked: Asked) -> Asked:
    return asked.having("traceparent", None)


def _same_id(asked: Asked) -> Asked:
    sent = asked.header("x-request-id")
    return asked if sent else asked.having("x-request-id", "01a1fb73-186c-70a3-9e7f-b8f276b2fa5e")


# --- What is answered ------------------------------------------------------------------------------------------------


def _top_level_param(answered: Answered) -> Answered:
    body = re.sub(rb'"param":"(\w+)[.\[][^"]*"', rb'"param":"\1"', answered.body)
    return attrs.evolve(answered, body=body)


def _echo(parts: Parts) -> Asgi:
    """The answer to an unknown path says which."""

    def change(asked: Asked, answered: Answered) -> Answered:
        sentence = f"Unknown URL {asked.path}:".encode()
        return attrs.evolve(answered, body=answered.body.replace(b"Unknown URL:", sentence))

    return answering(build(parts), change)


def _kept_alive(answered: Answered) -> Answered:
    return answered.having("connection", None)


def _open_to_all(answered: Answered) -> Answered:
    return answered.having("access-control-allow-origin", "*")


def _another_code(answered: Answered) -> Answered:
    return attrs.evolve(answered, body=answered.body.replace(b"PROVIDER_NOT_CONFIGURED", b"NOT_IMPLEMENTED"))


def _untimed(answered: Answered) -> Answered:
    return answered.having("x-response-time", None) if answered.status == 404 else answered


def _all_is_well(answered: Answered) -> Answered:
    """Every refusal of a body becomes the 501, as if it had been the last check."""
    if answered.status != 413:
        return answered
    return attrs.evolve(answered, status=501, body=json.dumps({"error": {}}).encode())


def _without_limits(answered: Answered) -> Answered:
    """An unknown path tells nothing of limits, as if it were free."""
    if answered.status != 404:
        return answered
    for name in RATE_LIMIT:
        answered = answered.having(name, None)
    return answered


def _one_left(answered: Answered) -> Answered:
    """The counter that is told does not move."""
    told = answered.header("x-ratelimit-remaining-requests")
    return answered.having("x-ratelimit-remaining-requests", "1") if told else answered


def _come_back_soon(answered: Answered) -> Answered:
    return answered.having("retry-after", "1") if answered.header("retry-after") else answered


def _come_back(answered: Answered) -> Answered:
    return answered.having("retry-after", None)


# --- Where it comes from ---------------------------------------------------------------------------------------------


def _methods_are_free(parts: Parts) -> Asgi:
    """A wrong method is told before the limit of the address is asked."""
    app = build(parts)

    async def placed(scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        free = scope.get("method") == "PUT"
        await app({**scope, "client": ("192.0.2.1", 1)} if free else scope, receive, send)

    return placed


def _never_draining(parts: Parts) -> Asgi:
    return build(attrs.evolve(parts, draining=False))


SLIPS: Final[Mapping[str, Slip]] = {
    "a_kind_stands_under_one_status": shows(_kind_twice),
    "the_document_shows_the_live_phase": shows(_success_in_phase_one),
    "what_is_documented_is_served": shows(_path_that_is_not_served),
    "unknown_route_before_method_and_both_before_the_credential": asks(_stranger_is_asked_first),
    "credential_before_everything_else": content_before_credential,
    "credential_before_the_body_arrives": body_before_credential,
    "parameters_before_scope_organization_and_agent": asks(_scope_before_parameters),
    "scope_before_organization_before_agent_before_content": content_before_scope,
    "content_headers_before_length_before_the_body": asks(_length_before_type),
    "cap_before_json_before_schema_before_phase": asks(_json_before_cap, reading=True),
    "every_credential_but_a_bearer_token_is_refused": asks(_any_scheme),
    "two_credentials_are_none": asks(_last_credential),
    "only_the_exact_token_passes": any_prefix,
    "a_key_without_the_scope_is_refused": every_scope,
    "another_organization_is_refused_whether_it_exists_or_not": asks(_any_organization),
    "another_agent_is_refused_whether_it_exists_or_not": foreign_agent,
    "an_agent_header_is_verified_where_it_is_optional_too": asks(_agent_on_post_only),
    "a_wrong_type_is_named_where_it_stands": answers(_top_level_param),
    "a_missing_member_is_named_where_it_should_stand": answers(_top_level_param),
    "scalars_are_not_coerced": asks(_coerced, reading=True),
    "a_broken_parameter_is_named": asks(_broken_agent_is_none),
    "an_answer_repeats_nothing_that_was_sent": _echo,
    "only_json_in_utf8_is_taken": asks(_any_type),
    "only_identity_encoding_is_taken": asks(_any_encoding),
    "the_body_limit_is_exact": keeps(_limit_too_low),
    "a_refusal_before_the_body_closes_the_connection": answers(_kept_alive),
    "what_is_no_json_is_invalid_json": asks(_lenient_json, reading=True),
    "json_of_another_shape_is_an_invalid_request": asks(_empty_is_an_object, reading=True),
    "of_repeated_keys_the_last_counts": asks(_first_key_counts, reading=True),
    "unusual_json_is_still_json": asks(_no_space_around, reading=True),
    "head_answers_as_get_does": asks(_head_is_options),
    "options_names_the_methods_to_anybody": asks(_no_options),
    "undeclared_methods_are_405_with_the_same_allow": asks(_patch_is_post),
    "no_answer_speaks_of_other_origins": answers(_open_to_all),
    "unknown_keys_are_not_refused": keeps(_no_unknown_keys),
    "every_example_is_accepted": keeps(_no_stop),
    "every_branch_has_an_example": shows(_one_example),
    "a_valid_request_ends_phase_one": answers(_another_code),
    "only_a_faultless_request_ends_phase_one": keeps(_no_schema),
    "paths_of_one_operation_answer_alike": asks(_one_path_is_lenient, reading=True),
    "a_model_name_has_1_to_256_characters": keeps(_name_too_long),
    "a_model_id_in_a_path_may_hold_slashes": asks(_no_slashes),
    "a_stream_is_data_and_comments": streams.with_ids,
    "a_stream_ends_with_one_done": streams.without_done,
    "the_first_delta_says_who_speaks": streams.without_role,
    "each_choice_finishes_once": streams.unfinished,
    "tool_calls_come_in_fragments_by_index": streams.untyped_calls,
    "usage_comes_when_it_is_asked_for": streams.always_counting,
    "all_chunks_are_of_one_answer": streams.many_ids,
    "an_answer_names_the_model_that_was_asked_for": streams.another_model,
    "a_cut_answer_never_looks_finished": streams.finished_where_it_was_cut,
    "whole_and_streamed_tell_the_same": streams.cut_short,
    "nobody_holds_a_stream_back": streams.held_back,
    "what_fails_at_once_is_refused_whole_and_streamed": streams.failing_within_a_stream,
    "nobody_learns_who_answers": streams.disclosing,
    "embeddings_are_in_the_order_of_the_texts": streams.last_text_first,
    "every_answer_is_traceable": answers(_untimed),
    "a_valid_request_id_of_the_caller_is_used": asks(_own_ids_only),
    "request_ids_are_unique": asks(_same_id),
    "the_trace_of_the_caller_is_kept": asks(_own_traces_only),
    "every_status_is_documented": undocumented_status,
    "allow_names_the_methods_of_its_own_path": foreign_allow,
    "an_address_gets_what_is_stated_and_no_more": limits.one_more("address"),
    "an_address_is_limited_before_its_path_is_looked_at": _methods_are_free,
    "a_key_gets_what_is_stated_and_no_more": limits.one_more("key"),
    "an_organization_gets_what_is_stated_and_no_more": limits.one_more("organization"),
    "an_alias_gets_what_is_stated_and_no_more": limits.one_more_of_an_alias,
    "what_is_used_up_comes_back": answers(_come_back_soon),
    "failed_logins_end_at_their_number": limits.one_more("failed-logins"),
    "no_header_changes_whose_limit_counts": limits.forwarded_for_trusted,
    "headers_agree_with_the_counter": answers(_one_left),
    "headers_tell_of_limits_that_were_met_only": answers(_without_limits),
    "who_has_used_up_a_limit_is_told_when_to_come_back": answers(_come_back),
    "states_are_answered_in_their_place": content_before_credential,
    "a_full_gateway_says_so_and_still_lives": limits.more_room,
    "a_draining_gateway_is_not_ready_and_answers": _never_draining,
    "who_cannot_be_checked_is_asked_to_come_back": unavailable_is_wrong,
    "an_outage_lets_nobody_in_and_shuts_nobody_out": unavailable_is_anybody,
    "a_confirmed_identity_ends_within_a_minute": stale_for_ever,
    "a_revoked_key_is_refused_soon": asked_once,
    "every_request_leaves_one_event": logs.not_all_logged,
    "an_event_has_listed_fields_only": logs.more_logged,
    "no_content_is_logged": logs.content_logged,
    "no_credential_is_logged": logs.key_logged,
    "no_header_query_or_path_is_logged": logs.path_logged,
}
