"""What `tox -e proto` makes of proto/dragoman/identity/v1/identity.proto, checked in; never edited (ADR-0031.R5)."""
