"""Tasks, done once, by workers that see what their submitter sees."""

import dataclasses
import json
import os
import sys
import typing

import pytest

from ser_keras.experiments.options import FanOutOptions
from ser_keras.training.engines import fan_out
from ser_keras.training.engines import make_engine
from ser_keras.training.engines import run_tasks
from ser_keras.training.engines.engine import TaskLostError
from ser_keras.training.run_folder import RunFolder
from tests.training.engines import tasks


def run(folder, function, names="abc", **options):
    """Runs a function of `tasks` in a folder for each name."""
    run_tasks(
        function,
        {name: (folder / name,) for name in names},
        2,
        {name: folder / name / "log.txt" for name in names},
        finals={name: folder / name / "final" for name in names},
        folder=folder,
        **options,
    )


def begun(folder, name="a"):
    """How often a task was begun."""
    return len((folder / name / "begun").read_text().splitlines())


def test_every_engine_can_be_chosen():
    hint = typing.get_type_hints(FanOutOptions)["engine"]
    assert set(typing.get_args(hint)) == set(fan_out.ENGINES)
    with pytest.raises(ValueError, match="`engine` must be one of local, ray"):
        make_engine("cloud", 1, ".")


def test_an_engine_that_is_not_installed(monkeypatch, tmp_path):
    for engine in ("ray", "slurm"):
        name = {"slurm": "submitit"}.get(engine, engine)
        monkeypatch.setitem(sys.modules, name, None)
        module = f"ser_keras.training.engines.{engine}"
        monkeypatch.delitem(sys.modules, module, raising=False)
        with pytest.raises(ImportError, match=rf"ser_keras\[{engine}\]"):
            run_tasks(print, {}, 1, {}, engine=engine, folder=tmp_path)


def test_what_is_finished_is_not_done_again(tmp_path, capsys):
    run(tmp_path, tasks.write)
    (tmp_path / "b" / "final").unlink()
    run(tmp_path, tasks.write)
    assert [begun(tmp_path, name) for name in "abc"] == [1, 2, 1]
    out = capsys.readouterr().out
    assert "finished, 3 of 3" in out
    assert (tmp_path / "a" / "log.txt").read_text() == "hello from a\n"


def test_a_killed_worker_costs_its_own_task_only(tmp_path, capsys):
    run(tmp_path, tasks.die_at_first)
    assert [begun(tmp_path, name) for name in "abc"] == [2, 2, 2]
    assert "taken over from" in (tmp_path / "a" / "log.txt").read_text()
    assert "its task is begun again" in capsys.readouterr().out


def test_a_task_that_kills_every_worker(tmp_path, monkeypatch):
    with make_engine("local", 1, tmp_path) as engine:
        future = engine.submit(tasks.die, tmp_path)
        with pytest.raises(TaskLostError, match="4 workers were lost.*jobs"):
            future.result()
        # The engine has a new one.
        assert engine.submit(tasks.square, 3).result() == 9


@pytest.fixture
def work(tmp_path):
    """What a submitter says that its workers must see."""
    RunFolder(tmp_path / "run", {"seed": 1})
    audio = tmp_path / "a.wav"
    audio.write_bytes(b"1234")
    return fan_out.Expected.of(tmp_path / "run", [audio])


def test_a_worker_that_sees_the_same(work, tmp_path):
    work.check()
    # Resumed by another version, it is the same configuration.
    record = json.loads((tmp_path / "run/config.json").read_text())
    record["resumed"] = [{"versions": {}}]
    (tmp_path / "run/config.json").write_text(json.dumps(record))
    work.check()


def test_other_versions(work):
    versions = {**work.versions, "keras": "2.0", "numpy": "1.0"}
    other = dataclasses.replace(work, versions=versions)
    with pytest.raises(RuntimeError, match=r"has keras 3\S+ for 2.0, numpy"):
        other.check()


def test_other_files(work, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"12345")
    with pytest.raises(RuntimeError, match="1 of 1.*a.wav .of another size"):
        work.check()
    (tmp_path / "a.wav").unlink()
    with pytest.raises(RuntimeError, match="a.wav .missing.*--data-dir"):
        work.check()


def test_another_configuration(work, tmp_path):
    file = tmp_path / "run/config.json"
    file.write_text(json.dumps({"config": {"seed": 2}}))
    with pytest.raises(RuntimeError, match="another configuration in"):
        work.check()
    file.unlink()
    with pytest.raises(RuntimeError, match="does not see.*--output-dir"):
        work.check()


def test_what_differs_ends_the_run_before_any_work(tmp_path, monkeypatch):
    versions = {**fan_out.package_versions(), "keras": "2.0"}
    monkeypatch.setattr(fan_out, "package_versions", lambda: versions)
    with pytest.raises(RuntimeError, match=r"failed: .*keras \S+ for 2.0"):
        run(tmp_path, tasks.write)
    assert not (tmp_path / "a" / "begun").exists()


def test_workers_have_this_folder_and_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_KERAS_STALE_SECONDS", "7")
    monkeypatch.chdir(tmp_path)
    code = (
        "import os; print(os.getcwd(), os.environ['SER_KERAS_STALE_SECONDS'],"
        " os.environ['TF_NUM_INTRAOP_THREADS'])"
    )
    run_tasks(exec, {"a": (code,)}, 1, {"a": "log.txt"})
    threads = len(os.sched_getaffinity(0))
    assert (tmp_path / "log.txt").read_text() == f"{tmp_path} 7 {threads}\n"
