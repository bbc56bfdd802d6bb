"""What a key's scopes allow: one table, for the edge and for whoever shows what there is."""

_ALLOWED_BY: dict[str, frozenset[str]] = {  # the scope that a route wants → scopes that grant it
    "read": frozenset({"read", "deploy", "admin"}),
    "deploy": frozenset({"deploy", "admin"}),
    "admin": frozenset({"admin"}),
}


def allows(scopes: frozenset[str], wanted: str) -> bool:
    """
    >>> allows(frozenset({"deploy"}), "read"), allows(frozenset({"read"}), "deploy")
    (True, False)
    """
    return bool(scopes & _ALLOWED_BY[wanted])
