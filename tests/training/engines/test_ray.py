"""The engine `ray`: what each call has of a cluster."""

import pytest

pytest.importorskip("ray", reason="needs the extra `ray`")


@pytest.mark.parametrize(
    ("nodes", "jobs", "cpus", "gpus"),
    [
        ([{"CPU": 8, "GPU": 4}], 2, 4, 2),
        ([{"CPU": 8, "GPU": 4}], 3, 2, 1),
        ([{"CPU": 2, "GPU": 1}], 3, 1 / 2, 1 / 3),
        # Four calls on three GPUs: two of them share one.
        ([{"CPU": 8, "GPU": 1}] * 3, 4, 6, 1 / 2),
        ([{"CPU": 8, "GPU": 1}] * 3, 1, 8, 1),
        ([{}, {"CPU": 1}, {"CPU": 1}], 2, 1, 0),
    ],
)
def test_shares_of_a_cluster(monkeypatch, nodes, jobs, cpus, gpus):
    from ser_keras.training.engines import ray

    listed = [{"Alive": True, "Resources": node} for node in nodes]
    listed.append({"Alive": False, "Resources": {"CPU": 99, "GPU": 99}})
    monkeypatch.setattr(ray.ray, "nodes", lambda: listed)
    assert ray._share("CPU", jobs) == cpus
    assert ray._share("GPU", jobs) == gpus
