"""An assembly is synthesised again when, and only when, something it is made of has changed."""

from pathlib import Path

import pytest

from rehearsal import cdk
from rehearsal.running import Emulator

SOURCES = ("app.py", "cdk.json", "infra", "lambda", "requirements.txt", "package-lock.json")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with each of its sources; `cdk synth` writes a file that counts the runs."""
    for name in SOURCES:
        if "." in name:
            (tmp_path / name).write_text(name)
        else:
            (tmp_path / name / "part").mkdir(parents=True)
            (tmp_path / name / "part" / "module.py").write_text(name)
    monkeypatch.setattr(cdk, "PROJECT", tmp_path)
    monkeypatch.setattr(cdk, "ASSEMBLIES", tmp_path / "assemblies")
    runs: list[tuple[str, ...]] = []

    def synth(environment: dict[str, str], *arguments: str, folder: Path = tmp_path) -> None:
        runs.append(arguments)
        output = Path(arguments[arguments.index("--output") + 1])
        output.mkdir()
        (output / "number").write_text(str(len(runs)))

    monkeypatch.setattr(cdk, "_run", synth)
    return tmp_path


def number(*context: str) -> int:
    """Which run of `cdk synth` the assembly is from."""
    return int((cdk.synthesised(context) / "number").read_text())


def test_unchanged_sources_are_synthesised_once_for_each_context(project: Path) -> None:
    assert [number("stage=dev"), number("stage=prod"), number("stage=dev")] == [1, 2, 1]


@pytest.mark.parametrize("source", SOURCES)
def test_a_change_in_any_source_is_synthesised(project: Path, source: str) -> None:
    assert number() == 1
    changed = project / source if "." in source else project / source / "part" / "module.py"
    changed.write_text("changed")
    assert number() == 2


def test_a_renamed_and_a_new_file_are_synthesised(project: Path) -> None:
    assert number() == 1
    module = project / "lambda" / "part" / "module.py"
    module.rename(module.with_name("other.py"))
    assert number() == 2
    module.write_text("new")
    assert number() == 3


def test_compiled_modules_do_not_count(project: Path) -> None:
    assert number() == 1
    cache = project / "lambda" / "part" / "__pycache__"
    cache.mkdir()
    (cache / "module.pyc").write_bytes(b"compiled")
    assert number() == 1


def test_only_the_latest_assemblies_are_kept(project: Path) -> None:
    for stage in range(cdk.KEPT_ASSEMBLIES + 2):
        number(f"stage={stage}")
    assert len(list((project / "assemblies").glob("*/"))) == cdk.KEPT_ASSEMBLIES


class Ended:
    """A program that has ended with that status."""

    def __init__(self, status: int) -> None:
        self._status = status

    def wait(self) -> int:
        return self._status


@pytest.mark.parametrize(
    ("status", "raised"), [(130, KeyboardInterrupt), (-2, KeyboardInterrupt), (1, cdk.DeploymentFailed)]
)
def test_ctrl_c_during_the_cdk_is_no_failure_of_it(
    status: int, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: Ended(status))
    with pytest.raises(raised):
        cdk.deploy(Emulator(0, 0, Path()), Path("assembly"))
