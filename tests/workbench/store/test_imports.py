import subprocess
import sys


def test_the_store_loads_no_model_library_and_no_screen() -> None:
    code = (
        "import sys, workbench.store.log, workbench.store.state, workbench.locations; "
        "print(*({name.partition('.')[0] for name in sys.modules}"
        " & {'torch', 'transformers', 'nnsight', 'textual', 'openai', 'sqlite_utils'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""
