"""Judges a gateway by the contract that it publishes, and by the rules of the decision records.

Laws of this package:
- The judge takes nothing from the judged but what goes over the wire; documents are read through `treaty`.
- Every failure names a rule, what was expected, what came, and a curl line that shows it.
"""
