"""Signing a file and checking its signature, with the ``ssh-keygen`` of OpenSSH.

A signature says who had the file in this form. Together with an export, which holds the head of
its session, it shows what the hashes alone cannot: that nobody else made the whole chain anew.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from workbench.private_files import keep_private, opened_input
from workbench.report.errors import ExportError

#: What the signature is for; one made for anything else does not count.
NAMESPACE = "adl-workbench"
SUFFIX = ".sig"


def signature_file(file: Path) -> Path:
    """Return the path at which ``ssh-keygen`` puts the signature of a file."""
    return file.with_name(file.name + SUFFIX)


def check_can_sign(file: Path, key: Path) -> None:
    """Raise `ExportError` for what would keep a file that is to be written from being signed."""
    _program()
    if not key.is_file():
        raise ExportError(f"there is no key {key}", "Name an SSH key, private or public.")
    if signature_file(file).exists():
        raise ExportError(f"{signature_file(file)} exists already", "Name a file that has none.")


def sign(file: Path, key: Path) -> Path:
    """Sign a file with an SSH key (of the agent, if ``key`` is a public one); return the signature.

    Raises `ExportError`.
    """
    check_can_sign(file, key)
    _run("-Y", "sign", "-f", _named(key), "-n", NAMESPACE, _named(file))
    keep_private(signature_file(file))
    return signature_file(file)


def check_signature(
    file: Path, signature: Path, allowed_signers: Path, signer: str | None = None
) -> str:
    """Check a signature of a file; return who it is of, as ``allowed_signers`` names them.

    ``allowed_signers`` is a file as ssh-keygen(1) describes it. Raises `ExportError` for a
    signature that is not of this file, or of nobody allowed (or not of ``signer``).
    """
    for path in (file, signature, allowed_signers):
        if not path.is_file():
            raise ExportError(f"there is no file {path}", "Check the path.")
    if signer is None:
        found = _run(
            "-Y", "find-principals", "-s", _named(signature), "-f", _named(allowed_signers)
        )
        signer = found.splitlines()[0]
    with opened_input(file) as content:
        _run(
            *("-Y", "verify", "-f", _named(allowed_signers), "-I", signer),
            *("-n", NAMESPACE, "-s", _named(signature)),
            content=content.fileno(),
        )
    return signer


def _named(file: Path) -> str:
    # Absolute, so that no name is taken for an option.
    return str(file.absolute())


def _program() -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise ExportError("ssh-keygen is not installed", "Install OpenSSH (openssh-client).")
    return found


def _run(*arguments: str, content: int | None = None) -> str:
    done = subprocess.run(
        [_program(), *arguments],
        stdin=content,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ExportError(
            f"ssh-keygen refused: {said[-1] if said else f'exit status {done.returncode}'}",
            "Check the key, the signature and who is allowed to sign (ssh-keygen(1), -Y).",
        )
    return done.stdout
