"""Whether a certificate of the inventory's fits its key and the names of its site.

What cannot be read is left to the proxy, which checks it before anything is replaced.
"""

from __future__ import annotations

from typing import Any, Iterator, Sequence


def faults(certificate: str, key: str, names: Sequence[str]) -> Iterator[str]:
    """What is wrong with the first certificate of a chain and its key, both in PEM, for ``names``."""
    # It takes a while to import, and few inventories have a certificate
    from cryptography import x509  # noqa: PLC0415
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        private = serialization.load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return
    if _public(found, serialization) != _public(private, serialization):
        yield "key is not the one of certificate; give the key with which that was asked for"
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        known = [str(name) for name in extension.value.get_values_for_type(x509.DNSName)]
    except (x509.ExtensionNotFound, ValueError):
        return
    for name in names:
        if not any(covers(pattern, name) for pattern in known):
            form = "certificate is not for {0}, but for {1}; ask for one with all names of the site"
            yield form.format(name, ", ".join(known) or "no name")


def _public(one: Any, serialization: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    found: bytes = one.public_key().public_bytes(serialization.Encoding.DER, form)
    return found


def covers(pattern: str, name: str) -> bool:
    """Whether a name of a certificate, with an asterisk for one label perhaps, is that of a site."""
    if pattern.lower() == name.lower():
        return True
    return pattern.startswith("*.") and pattern[2:].lower() == name.partition(".")[2].lower()
