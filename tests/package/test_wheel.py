"""The wheel and the sdist of `make package`, installed in empty environments and used there."""

import json
import resource
import subprocess
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.package.environments import DIST, EXAMPLE, ROOT, built_wheel, installed, run

MAX_WHEEL_BYTES = 5_000_000
MAX_INSTALLED_BYTES = 100_000_000
"""Of the base install, with compiled files; pip and setuptools, which every environment has, are not counted."""
NOT_COUNTED = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
SYNTH_SECONDS = 15
"""Of the processors: the machine may be busy."""
CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"How far is {n} miles?"},
            {"role": "assistant", "content": f"{n} miles."},
        ]
    }
    for n in range(20)
]


@pytest.fixture(scope="session")
def wheel() -> Path:
    return built_wheel()


@pytest.fixture(scope="session")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("base") / "venv", str(wheel))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "chats").mkdir()
    (tmp_path / "chats" / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CHATS))
    return tmp_path


def test_the_wheel_is_small_and_has_no_other_top_level_name(wheel: Path) -> None:
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
    top = {name.partition("/")[0] for name in ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "finetuning",
        "finetuning_cdk",
        "finetuning_cli",
    }


def test_the_wheel_has_every_file_of_its_packages(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "lambda", "infra", "cli"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    expected = {name.partition("/")[2] for name in tracked if not name.endswith(".in")}
    assert {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name} == expected


def test_the_sdist_has_what_the_wheel_has(wheel: Path) -> None:
    (archive,) = DIST.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        names = {name.split("/", 2)[-1] for name in sdist.getnames()}
    assert {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name} <= names


def test_the_command_says_its_version(base: Path, wheel: Path, home: Path) -> None:
    assert run(base, "finetune", "--version", home=home) == f"finetune {wheel.name.split('-')[1]}\n"


def test_the_command_checks_data(base: Path, home: Path) -> None:
    report = json.loads(run(base, "finetune", "check", "chats", "--json", home=home))
    assert report["rows"]["kept"] == len(CHATS)


def test_a_parquet_file_without_its_extra_is_answered_with_what_to_install(base: Path, home: Path) -> None:
    (home / "chats" / "chats.jsonl").rename(home / "unused")
    (home / "chats" / "chats.parquet").write_bytes(b"PAR1" + bytes(64) + b"PAR1")
    said = run(base, "finetune", "check", "chats", "--json", home=home, check=False)
    assert json.loads(said)["error"]["code"] == "PARQUET_NOT_INSTALLED"
    assert "finetune-llama-on-aws[parquet]" in json.loads(said)["error"]["fix"]


def test_the_command_plans_from_the_documents_it_brings(base: Path, home: Path) -> None:
    run(base, "finetune", "init", "chats", "--model", "meta-textgeneration-llama-3-2-1b-instruct", "--task", "chat",
        "--accept-eula", "--max-cost", "20", home=home)  # fmt: skip
    schema = json.loads((home / "chats" / "run.json").read_text())["$schema"]
    assert json.loads(Path(schema.removeprefix("file://")).read_text())["title"] == "run.json"
    planned = json.loads(run(base, "finetune", "plan", "chats", "--json", home=home))
    assert planned["ok"] is True, planned["findings"]
    assert len(run(base, "finetune", "models", home=home).splitlines()) > 14


def test_every_module_of_the_command_is_importable(base: Path, home: Path) -> None:
    """first-run and Parquet files need the extra `parquet`, and nothing else is missing."""
    program = """
import importlib, pkgutil, finetuning_cli
for module in pkgutil.walk_packages(finetuning_cli.__path__, "finetuning_cli."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            print(module.name, error.name)
"""
    assert run(base, "python", "-c", program, home=home).split("\n") == [
        "finetuning_cli.display.first_run pyarrow",
        "finetuning_cli.live.first_run pyarrow",
        "",
    ]


def test_a_base_install_is_small(base: Path) -> None:
    (packages,) = base.glob("lib/python*/site-packages")
    counted = [
        path.stat().st_size
        for path in packages.rglob("*")
        if path.is_file() and not path.relative_to(packages).parts[0].startswith(NOT_COUNTED)
    ]
    assert sum(counted) <= MAX_INSTALLED_BYTES


def test_the_example_app_is_synthesised_with_the_extra_of_the_construct(wheel: Path, tmp_path: Path) -> None:
    """The first time with the functions' libraries, which are installed in the home; the second time within seconds."""
    environment, home = installed(tmp_path / "venv", f"{wheel}[cdk]"), tmp_path / "home"
    home.mkdir()
    run(environment, "python", str(EXAMPLE), home=home, CDK_OUTDIR=str(tmp_path / "first"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(environment, "python", str(EXAMPLE), home=home, CDK_OUTDIR=str(tmp_path / "cdk.out"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SYNTH_SECONDS
    assets = [path for path in (tmp_path / "cdk.out").glob("asset.*") if path.is_dir()]
    handlers = [path / "finetuning" / "handlers" for path in assets if (path / "finetuning").is_dir()]
    assert len(handlers) == 1
    assert (handlers[0] / "plan_run.py").is_file()
    assert [path for path in assets if (path / "python" / "pydantic").is_dir()]
    assert not (tmp_path / "first" / "build").exists()
