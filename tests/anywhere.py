"""The tests as other machines would run them: ``python -m tests.anywhere [--only NAME] [PYTEST ...]``.

The processor decides which instructions PyTorch, OpenBLAS and numpy add and multiply with, and so
the last bits of what they compute; the machine says what the terminal, the language and the place
are. Each setting stands for another machine, and together they have every kernel; no test may pass
under one and fail under another. A table of times and results comes at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from contextlib import ExitStack

#: What another machine may say of itself.
ELSEWHERE = {
    **dict.fromkeys(("CI", "FORCE_COLOR", "PY_COLORS"), "1"),
    **dict.fromkeys(("LC_ALL", "LANG"), "C"),
    "COLUMNS": "43",
    "LINES": "9",
    "TERM": "dumb",
    "TZ": "Asia/Kolkata",
}

BUSY = [sys.executable, "-c", "while True: pass"]


def settings() -> dict[str, dict[str, str]]:
    """Environments by name, with no kernel that this processor lacks."""
    from numpy._core import _multiarray_umath as numpy_core

    features = numpy_core.__cpu_features__
    dispatched = [name for name in numpy_core.__cpu_dispatch__ if features[name]]
    return {
        "as it is": {},
        "oldest": {
            # oneDNN asks the processor itself what it can do: of attention in bfloat16 PyTorch then
            # refuses a kernel that oneDNN offers.
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "OPENBLAS_CORETYPE": "Prescott",
            "NPY_DISABLE_CPU_FEATURES": " ".join(dispatched),
        },
        "Haswell, busy": {
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "OPENBLAS_CORETYPE": "Haswell",
        },
        "Zen, elsewhere": {"OPENBLAS_CORETYPE": "Zen", **ELSEWHERE},
        **({"SkylakeX": {"OPENBLAS_CORETYPE": "SkylakeX"}} if features["AVX512_SKX"] else {}),
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=settings(), help="may be repeated")
    options, given = parser.parse_known_args(arguments)
    rows = []
    for name, variables in settings().items():
        if options.only and name not in options.only:
            continue
        print(f"\n=== {name}: {variables}", flush=True)
        began = time.monotonic()
        with ExitStack() as stack:
            for _ in range(2 if "busy" in name else 0):
                stack.callback(subprocess.Popen(BUSY).kill)
            tests = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "pytest", "-q", "--color=no", *given],
                    env={**os.environ, **variables},
                    stdout=subprocess.PIPE,
                    text=True,
                    errors="replace",
                )
            )
            lines = []
            for line in tests.stdout or ():
                print(line, end="", flush=True)
                lines.append(line.rstrip())
        failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        last = lines[-1] if lines else ""
        minutes = (time.monotonic() - began) / 60
        rows.append((name, minutes, tests.returncode, last, failed))
    print("\n")
    for name, minutes, code, last, failed in rows:
        print(f"{name:18} {minutes:6.1f} min  {'passed' if code == 0 else 'FAILED'}  {last}")
        for line in failed:
            print(f"{'':18} {line}")
    return int(any(code for _, _, code, _, _ in rows))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
