"""The effective contract, compiled: what the gateway asks when it admits, refuses and answers a request."""

from dragoman.contract.compiler import Contract, compile_contract
from dragoman.contract.operation import Body, Operation, Parameter
from dragoman.contract.refusals import Answer, HeaderRule, Refusals
from dragoman.contract.traits import Traits
from dragoman.contract.validation import Problem

__all__ = [
    "Answer",
    "Body",
    "Contract",
    "HeaderRule",
    "Operation",
    "Parameter",
    "Problem",
    "Refusals",
    "Traits",
    "compile_contract",
]
