"""What of this machine every session may read, because programs do not run without. Data."""

from typing import Final

BESIDE_USR: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""On most systems links into /usr."""

ETC: Final = tuple(
    f"/etc/{name}"
    for name in (
        # Libraries, hosts, certificates, zones and types: the rest tells of the machine, and some of it is secret.
        *("alternatives", "hosts", "ld.so.cache", "localtime", "mime.types", "nsswitch.conf", "protocols"),
        *("resolv.conf", "services", "timezone"),
        *("ssl/certs", "ssl/openssl.cnf", "pki/ca-trust/extracted", "pki/tls/certs", "crypto-policies"),
    )
)
