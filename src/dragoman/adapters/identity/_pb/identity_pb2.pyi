from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ValidateTokenRequest(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: str
    def __init__(self, token: _Optional[str] = ...) -> None: ...

class ValidateTokenResponse(_message.Message):
    __slots__ = ("valid", "organization_id", "key_id", "scopes", "organization_rate", "key_rate", "organization_token_rate", "key_token_rate", "daily_requests", "daily_tokens")
    VALID_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_RATE_FIELD_NUMBER: _ClassVar[int]
    KEY_RATE_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_TOKEN_RATE_FIELD_NUMBER: _ClassVar[int]
    KEY_TOKEN_RATE_FIELD_NUMBER: _ClassVar[int]
    DAILY_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    DAILY_TOKENS_FIELD_NUMBER: _ClassVar[int]
    valid: bool
    organization_id: str
    key_id: str
    scopes: _containers.RepeatedScalarFieldContainer[str]
    organization_rate: str
    key_rate: str
    organization_token_rate: str
    key_token_rate: str
    daily_requests: int
    daily_tokens: int
    def __init__(self, valid: _Optional[bool] = ..., organization_id: _Optional[str] = ..., key_id: _Optional[str] = ..., scopes: _Optional[_Iterable[str]] = ..., organization_rate: _Optional[str] = ..., key_rate: _Optional[str] = ..., organization_token_rate: _Optional[str] = ..., key_token_rate: _Optional[str] = ..., daily_requests: _Optional[int] = ..., daily_tokens: _Optional[int] = ...) -> None: ...

class ValidateAgentRequest(_message.Message):
    __slots__ = ("organization_id", "named")
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    NAMED_FIELD_NUMBER: _ClassVar[int]
    organization_id: str
    named: str
    def __init__(self, organization_id: _Optional[str] = ..., named: _Optional[str] = ...) -> None: ...

class ValidateAgentResponse(_message.Message):
    __slots__ = ("valid", "agent_id", "name")
    VALID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    valid: bool
    agent_id: str
    name: str
    def __init__(self, valid: _Optional[bool] = ..., agent_id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...
