"""The tests as another machine would run them: ``python -m tests.anywhere [PYTEST ARGUMENTS]``.

The processor decides which instructions PyTorch, OpenBLAS and numpy add and multiply with, and so
the last bits of what they compute. Each setting takes some away, or keeps both cores at other work;
no test may pass under one and fail under another. A table of times and results comes at the end.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack

BUSY = [sys.executable, "-c", "while True: pass"]


def settings() -> dict[str, dict[str, str]]:
    """Environments by what is told of them; no kernel that this processor lacks."""
    from numpy._core import _multiarray_umath as numpy_core

    features = numpy_core.__cpu_features__
    dispatched = [name for name in numpy_core.__cpu_dispatch__ if features[name]]
    kernels = ["Haswell", "Zen", "Prescott"] + ["SkylakeX"] * features["AVX512_SKX"]
    return {
        "as it is": {},
        **{f"PyTorch {kind}": {"ATEN_CPU_CAPABILITY": kind} for kind in ("default", "avx2")},
        **{f"OpenBLAS {kind}": {"OPENBLAS_CORETYPE": kind} for kind in kernels},
        "numpy's baseline": {"NPY_DISABLE_CPU_FEATURES": " ".join(dispatched)},
        "both cores busy": {},
    }


def main(arguments: list[str]) -> int:
    rows = []
    for name, variables in settings().items():
        print(f"\n=== {name}: {variables}", flush=True)
        began = time.monotonic()
        with ExitStack() as stack:
            for _ in range(2 if name == "both cores busy" else 0):
                stack.callback(subprocess.Popen(BUSY).kill)
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", *arguments],
                env={**os.environ, **variables},
                stdout=subprocess.PIPE,
                text=True,
            )
        minutes = (time.monotonic() - began) / 60
        print(done.stdout, end="", flush=True)
        failed = re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE)
        last = done.stdout.rstrip().rpartition("\n")[2]
        rows.append((name, minutes, done.returncode, last, failed))
    print("\n")
    for name, minutes, code, last, failed in rows:
        print(f"{name:18} {minutes:6.1f} min  {'passed' if code == 0 else 'FAILED'}  {last}")
        for line in failed:
            print(f"{'':18} {line}")
    return int(any(code for _, _, code, _, _ in rows))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
