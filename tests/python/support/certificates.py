"""Authorities and certificates of a test's own, by the ``openssl`` program."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """Signs certificates; all lie in *folder* under its *name*."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.ca_file = str(folder / f"{name}.crt")
        self._key = str(folder / f"{name}.key")
        openssl(
            "req", "-x509", *_NEW_KEY, "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", self._key, "-out", self.ca_file,
        )  # fmt: skip

    def issue(
        self, name: str, subjects: str = "IP:127.0.0.1,DNS:localhost", days: int = 2
    ) -> tuple[str, str]:
        """The paths of a certificate for *subjects*, and of its key."""
        base = self.folder / f"{self.name}-{name}"
        certificate, key, request, extensions = (f"{base}.{end}" for end in ("crt", "key", "csr", "ext"))
        openssl("req", *_NEW_KEY, "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        Path(extensions).write_text(f"subjectAltName={subjects}\n")
        openssl(
            "x509", "-req", "-in", request, "-CA", self.ca_file, "-CAkey", self._key, "-CAcreateserial",
            "-days", str(days), "-extfile", extensions, "-out", certificate,
        )  # fmt: skip
        return certificate, key


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def openssl(*words: str) -> None:
    """Run the program."""
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)
